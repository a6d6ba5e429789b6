"""A runtime's end of a dialogue with a machine, as bytes or as objects, for tests that say what is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.machine.invocation import Invocation
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.messages import InputCommand, Message, Notification, StartMessage, StateEntry, Value
from perdure.wire.versions import ProtocolVersion

__all__ = ["ID", "INPUT", "V5", "V6", "V7", "Peer", "journal_of", "opened"]

V5, V6, V7 = ProtocolVersion
ID = bytes(range(24))
INPUT = InputCommand((), Value(b"in"))


class Peer:
    """Tells a machine what a runtime says, and reads what it answers."""

    def __init__(self, machine: Invocation, *, as_bytes: bool) -> None:
        self.machine = machine
        self.as_bytes = as_bytes
        self._decoder = Decoder()

    def tells(self, *messages: Message) -> None:
        """Send messages to the machine."""
        if self.as_bytes:
            self.machine.receive_data(encode_frames(messages))
        else:
            for message in messages:
                self.machine.receive(message)

    def hears(self) -> list[Message]:
        """Everything the machine has written since the last time."""
        if not self.as_bytes:
            return self.machine.messages_to_send()
        self._decoder.receive_data(self.machine.data_to_send())
        return list(self._decoder.messages())


def journal_of(
    *entries: Message,
    state: dict[bytes, bytes] | None = None,
    partial: bool = False,
    retries: int = 0,
    milliseconds: int = 0,
    **fields: Any,
) -> list[Message]:
    """A start message and the journal that it announces, the input included."""
    start = StartMessage(
        id=ID,
        debug_id="inv_1",
        known_entries=1 + len(entries),
        state_map=tuple(StateEntry(key, value) for key, value in (state or {}).items()),
        partial_state=partial,
        retry_count_since_last_stored_entry=retries,
        duration_since_last_stored_entry=milliseconds,
        **fields,
    )
    return [start, INPUT, *entries]


def opened(
    *entries: Message,
    version: ProtocolVersion = V6,
    then: Sequence[Notification] = (),
    counts_signals: bool = False,
    **start: Any,
) -> Invocation:
    """A machine that has read a journal and taken its input; `then` arrived afterwards."""
    machine = Invocation(version, counts_signals=counts_signals)
    for message in (*journal_of(*entries, **start), *then):
        machine.receive(message)
    assert machine.ready
    machine.input()
    return machine
