"""One attempt as the engine sees it, without I/O: what is between the rules of an invocation and a channel.

A channel below carries message objects (in process) or frames (HTTP); encoders and limits live there. The rules above
see which attempt sent which message, and cannot tell which channel carried it. In between stands a session, which knows

* **the prefix**: the start of an attempt fixes which entries are replayed; what is delivered later has a higher index,
  goes out in the order of the journal, and once;
* **proposals**: whether the handler wants the result of a step back, or only an acknowledgement;
* **the two clocks**: after `inactivity` seconds without a message in either direction the input is half-closed, so that
  the handler suspends where it waits next; after `abort` more seconds without a message the attempt is broken off;
* **credit**: how much of what the handler wrote is not committed yet; one that is too far ahead waits;
* **the end**: after suspension, error or end nothing may follow, and nothing is sent any more.

Times are seconds of one clock, whatever it counts from.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire.messages import (
    AwaitingOnMessage,
    Command,
    EndMessage,
    ErrorMessage,
    InputCommand,
    Message,
    OutputCommand,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCompletion,
    StartMessage,
    SuspensionMessage,
)
from perdure.wire.msgpack import encode

__all__ = ["MOST_BYTES", "MOST_COMMANDS", "AttemptSession", "Due", "size_of"]

MOST_COMMANDS: Final = 1000
"""Messages of one attempt that may be uncommitted before it has to wait."""

MOST_BYTES: Final = 1024 * 1024
"""Bytes of payload of one attempt that may be uncommitted before it has to wait."""

_LAST_MOMENT: Final = 2**63 - 1
"""Milliseconds since the epoch: the largest number that the store can hold."""


class Due(enum.Enum):
    """What the clocks of a session ask for."""

    NOTHING = "nothing"
    HALF_CLOSE = "half-close"
    ABORT = "abort"


class AttemptSession:
    """The engine's side of one attempt.

    Args:
        number: of the invocation, as the journal counts them.
        attempt: of the attempt, unique while the engine lives; it fences everything that comes from here.
        now: seconds.
        inactivity: seconds without a message until the input is half-closed; 0 closes it behind the replayed journal,
            so that every wait suspends.
        abort: seconds without a message after that until the attempt is broken off.
        bidirectional: whether anything can be sent behind the replayed journal; a channel that has to send its request
            before it is answered cannot.

    Attributes:
        commands: how many commands the journal has, with those of this attempt.
        over: whether the handler has ended the attempt, or the engine has.
        last_word: whether the handler has ended it: by a suspension, an error or the end.
        input_closed: whether nothing more will be sent than what is queued.
    """

    __slots__ = (
        "_abort",
        "_acknowledged",
        "_bytes",
        "_heard_at",
        "_inactivity",
        "_messages",
        "_next",
        "_out",
        "_output",
        "_pending_bytes",
        "_pending_messages",
        "_uncommitted",
        "attempt",
        "commands",
        "input_closed",
        "last_word",
        "number",
        "over",
    )

    def __init__(
        self,
        number: int,
        attempt: int,
        *,
        now: float,
        inactivity: float,
        abort: float,
        bidirectional: bool = True,
    ) -> None:
        self.number: int = number
        self.attempt: int = attempt
        self.commands: int = 0
        self.over: bool = False
        self.last_word: bool = False
        self.input_closed: bool = False
        self._inactivity = inactivity if bidirectional else 0.0
        self._abort = abort
        self._heard_at = now
        self._out: list[Message] = []
        self._next = 0
        self._acknowledged: set[int] = set()
        self._output = False
        self._uncommitted: deque[tuple[int, int, int]] = deque()
        self._messages = 0
        self._bytes = 0
        self._pending_messages = 0
        self._pending_bytes = 0

    def __repr__(self) -> str:
        state = "over" if self.over else "half-closed" if self.input_closed else "open"
        return f"<AttemptSession of invocation {self.number}, attempt {self.attempt}, {state}>"

    # --- to the handler --------------------------------------------------------------------------------------------

    def begin(self, start: StartMessage, prefix: Sequence[Message]) -> None:
        """Queue the start message and the entries that are replayed: all that was committed when the attempt began."""
        assert not self._next, "an attempt begins once"
        self._out.append(start)
        self._out.extend(prefix)
        self._next = len(prefix)
        self.commands = sum(1 for entry in prefix if isinstance(entry, Command))
        if not self._inactivity:
            self.close_input(self._heard_at)

    def deliver(self, index: int, entry: Message, now: float) -> bool:
        """Queue an entry of the journal; tells whether it will be sent.

        Args:
            index: of the entry in the journal; one that was replayed or sent before is passed over.
            entry: a notification.
            now: seconds.
        """
        if self.over or index < self._next or self.input_closed:
            return False  # sent before, or for the next attempt
        self._next = index + 1
        if type(entry) is RunCompletion and entry.completion_id in self._acknowledged:
            self._acknowledged.discard(entry.completion_id)
            entry = ProposeRunCompletionAckMessage(entry.completion_id)
        self._out.append(entry)
        self._heard_at = now
        return True

    def close_input(self, now: float) -> bool:
        """Send nothing more than what is queued, so that the handler suspends where it waits next.

        Returns:
            Whether this changed anything.
        """
        if self.over or self.input_closed:
            return False
        self.input_closed = True
        self._heard_at = now
        return True

    def stop(self) -> None:
        """The engine has left the attempt: nothing passes in either direction any more."""
        self.over = True
        self._out.clear()

    @property
    def seen(self) -> int:
        """Up to which index the handler has been sent whatever it did not write itself."""
        return self._next

    @property
    def has_output(self) -> bool:
        """Whether anything is to be sent."""
        return bool(self._out)

    def messages_to_send(self) -> list[Message]:
        """Everything that is to be sent; afterwards, with `input_closed`, the end of the input."""
        out, self._out = self._out, []
        return out

    # --- from the handler ------------------------------------------------------------------------------------------

    def receive(self, message: Message, now: float) -> bool:
        """Take a message of the handler; tells whether it concerns the journal.

        Hints and whatever comes after the engine has left the attempt do not.

        Raises:
            ProtocolError: it is nothing that a handler may send, or not here. Count the attempt as failed.
        """
        if self.over:
            return False
        self._heard_at = now
        size = size_of(message)
        if isinstance(message, Command):
            self._check_command(message)
            self.commands += 1
        elif type(message) is ProposeRunCompletionMessage:
            self._check_proposal(message)
            if message.requested_ack:
                self._acknowledged.add(message.result_completion_id)
        elif type(message) is EndMessage:
            if not self._output:
                raise ProtocolError("the handler ended the invocation without an output")
            self.over = self.last_word = True
        elif type(message) is SuspensionMessage or type(message) is ErrorMessage:
            self.over = self.last_word = True
        elif type(message) is AwaitingOnMessage:
            return False
        else:
            raise ProtocolError(f"the handler sent {type(message).__name__}, which only an engine may send")
        self._pending_messages += 1
        self._pending_bytes += size
        return True

    def _check_command(self, command: Command) -> None:
        if self._output:
            raise ProtocolError(f"the handler sent {type(command).__name__} behind its output")
        if type(command) is InputCommand:
            raise ProtocolError("the handler sent an InputCommand, which only an engine may send")
        if type(command) is OutputCommand:
            if command.result is None:
                raise ProtocolError("the handler sent an output that holds nothing")
            self._output = True

    @staticmethod
    def _check_proposal(proposal: ProposeRunCompletionMessage) -> None:
        if proposal.result is None:
            raise ProtocolError(f"the handler proposed nothing for completion {proposal.result_completion_id}")

    def receive_eof(self) -> None:
        """The handler sends nothing more.

        Raises:
            ProtocolError: the attempt has no end: no suspension, no error and no end came before.
        """
        if not self.over:
            raise ProtocolError("the attempt stopped without suspension, error or end")

    # --- credit ----------------------------------------------------------------------------------------------------

    def charge(self, batch: int) -> None:
        """What was received since the last call is in this batch, or changed nothing."""
        if not self._pending_messages:
            return
        self._uncommitted.append((batch, self._pending_messages, self._pending_bytes))
        self._messages += self._pending_messages
        self._bytes += self._pending_bytes
        self._pending_messages = self._pending_bytes = 0

    def committed(self, batch: int) -> None:
        """This batch, and all before it, are committed."""
        uncommitted = self._uncommitted
        while uncommitted and uncommitted[0][0] <= batch:
            _, messages, size = uncommitted.popleft()
            self._messages -= messages
            self._bytes -= size

    @property
    def uncommitted(self) -> int:
        """Messages that are not committed yet."""
        return self._messages

    @property
    def overdrawn(self) -> bool:
        """Whether the handler is so far ahead of the disk that it has to wait."""
        return self._messages >= MOST_COMMANDS or self._bytes >= MOST_BYTES

    # --- clocks ----------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When to call `tick` next, at the latest; it may move on meanwhile."""
        if self.over:
            return math.inf
        return self._heard_at + (self._abort if self.input_closed else self._inactivity)

    def tick(self, now: float) -> Due:
        """Look at the clocks; the input is half-closed here, breaking off is left to the caller."""
        if self.over or now < self.deadline:
            return Due.NOTHING
        if self.input_closed:
            return Due.ABORT
        self.close_input(now)
        return Due.HALF_CLOSE


def size_of(message: Message) -> int:
    """How many bytes a message takes in the journal.

    Raises:
        ProtocolError: it cannot be stored: text that is no Unicode, a moment that is no date.
    """
    try:
        size = len(encode(message))
    except UsageError as error:
        raise ProtocolError(str(error)) from error
    moment = getattr(message, "wake_up_time", 0) or getattr(message, "invoke_time", 0)
    if moment > _LAST_MOMENT:
        raise ProtocolError(f"a {type(message).__name__} is about a moment too far away: {moment} ms since 1970")
    return size
