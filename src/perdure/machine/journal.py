"""The recorded commands of a journal, and what is said when the code does something else.

The cursor compares each command the handler issues with the recorded one. Equality of structs is one C call, so the
usual case costs next to nothing; only a difference is looked at field by field.

Some fields are *volatile*: they may differ between attempts without harm, and the recorded value wins. They are listed
in `VOLATILE`, with the reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from perdure.exceptions import JournalMismatchError
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    AttachInvocationCommand,
    CallCommand,
    ClearAllStateCommand,
    ClearStateCommand,
    Command,
    CompleteAwakeableCommand,
    CompletePromiseCommand,
    GetEagerStateCommand,
    GetEagerStateKeysCommand,
    GetInvocationOutputCommand,
    GetLazyStateCommand,
    GetLazyStateKeysCommand,
    GetPromiseCommand,
    InputCommand,
    OneWayCallCommand,
    OutputCommand,
    PeekPromiseCommand,
    RunCommand,
    SendSignalCommand,
    SetStateCommand,
    SleepCommand,
)

__all__ = ["VOLATILE", "Difference", "RecordedCommands", "describe", "mismatch"]

VOLATILE: Final[dict[type[Command], frozenset[str]]] = {
    InputCommand: frozenset({"headers", "value", "name"}),  # written by the runtime: the handler only reads it
    SleepCommand: frozenset({"wake_up_time"}),  # computed from the clock of the attempt
    OneWayCallCommand: frozenset({"invoke_time"}),  # likewise
    GetEagerStateCommand: frozenset({"result"}),  # the recorded answer is the answer
    GetEagerStateKeysCommand: frozenset({"value"}),  # likewise
}

PAYLOADS: Final[dict[type[Command], frozenset[str]]] = {
    OutputCommand: frozenset({"result"}),
    SetStateCommand: frozenset({"value"}),
    CallCommand: frozenset({"parameter"}),
    OneWayCallCommand: frozenset({"parameter"}),
    SendSignalCommand: frozenset({"result"}),
    CompletePromiseCommand: frozenset({"completion"}),
    CompleteAwakeableCommand: frozenset({"result"}),
}
"""Fields that hold the user's bytes. They are not compared when the serde writes equal values differently each time,
as encryption with a nonce does."""

_NONE: Final[frozenset[str]] = frozenset()

_VERBS: Final[dict[type[Command], str]] = {
    InputCommand: "input",
    OutputCommand: "return of the handler",
    GetLazyStateCommand: "get state",
    GetEagerStateCommand: "get state",
    GetLazyStateKeysCommand: "list state keys",
    GetEagerStateKeysCommand: "list state keys",
    SetStateCommand: "set state",
    ClearStateCommand: "clear state",
    ClearAllStateCommand: "clear all state",
    GetPromiseCommand: "await promise",
    PeekPromiseCommand: "peek at promise",
    CompletePromiseCommand: "complete promise",
    SleepCommand: "sleep",
    CallCommand: "call",
    OneWayCallCommand: "send",
    SendSignalCommand: "send signal",
    AttachInvocationCommand: "attach",
    GetInvocationOutputCommand: "get output",
    RunCommand: "run",
    CompleteAwakeableCommand: "complete awakeable",
}


class Difference(NamedTuple):
    """One field in which two commands differ."""

    field: str
    recorded: object
    issued: object

    def __str__(self) -> str:
        return f"{self.field}: {_short(self.recorded)} -> {_short(self.issued)}"


def _short(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def describe(command: Command) -> str:
    """A command in a few words, as an error message names it."""
    verb = _VERBS.get(type(command), type(command).__name__)
    match command:
        case CallCommand() | OneWayCallCommand():
            target = f"{command.service_name}/{command.handler_name}"
            subject = f"{target} (key {command.key!r})" if command.key else target
        case SetStateCommand() | ClearStateCommand() | GetLazyStateCommand() | GetEagerStateCommand():
            subject = repr(command.key.decode("utf-8", "replace"))
        case GetPromiseCommand() | PeekPromiseCommand() | CompletePromiseCommand():
            subject = repr(command.key)
        case SendSignalCommand(signal=signal) if signal == CANCEL_SIGNAL:
            verb, subject = "cancel", command.target_invocation_id
        case SendSignalCommand():
            subject = f"{command.signal!r} to {command.target_invocation_id}"
        case CompleteAwakeableCommand():
            subject = command.awakeable_id
        case _:
            subject = ""
    name = getattr(command, "name", "")
    return " ".join(part for part in (verb, subject, f"named {name!r}" if name else "") if part)


def _differences(recorded: Command, issued: Command, *, stable: bool = True) -> list[Difference]:
    volatile = VOLATILE.get(type(recorded), _NONE)
    if not stable:
        volatile |= PAYLOADS.get(type(recorded), _NONE)
    return [
        Difference(field, getattr(recorded, field), getattr(issued, field))
        for field in recorded.__struct_fields__
        if field not in volatile and getattr(recorded, field) != getattr(issued, field)
    ]


def _likely_cause(recorded: Command | None, issued: Command | None, differences: Iterable[Difference]) -> str:
    if issued is None:
        return (
            "an await was added where the earlier code went on, or the code waits for something that has not happened "
            "in the recorded run"
        )
    if recorded is None or type(recorded) is not type(issued):
        return (
            "a step was added, removed or moved since this invocation started, or the code branches on something that "
            "is not journaled (time, randomness, a global, the environment)"
        )
    fields = {difference.field for difference in differences}
    if fields & {"parameter", "value", "result", "completion"}:
        return (
            "the value is computed from something that is not journaled (time, randomness, the order of a set), or its "
            "serialization changed"
        )
    if "name" in fields:
        return "a step was added, removed, moved or renamed since this invocation started"
    if fields & {"result_completion_id", "invocation_id_notification_idx"}:
        return "an earlier step that awaits a result was added or removed since this invocation started"
    return "the arguments of this step changed since this invocation started, or depend on something not journaled"


def mismatch(index: int, recorded: Command | None, issued: Command | None, detail: str = "") -> JournalMismatchError:
    """The error for one mismatch: index, both commands, what differs, and why it usually happens."""
    same_kind = recorded is not None and issued is not None and type(recorded) is type(issued)
    differences = _differences(recorded, issued) if same_kind and recorded and issued else []
    return JournalMismatchError(
        index=index,
        recorded=describe(recorded) if recorded is not None else "nothing more",
        issued=describe(issued) if issued is not None else detail,
        differences=tuple(map(str, differences)),
        cause=_likely_cause(recorded, issued, differences),
    )


class RecordedCommands:
    """The replay cursor: recorded commands that the handler has not repeated yet."""

    __slots__ = ("_recorded", "index")

    def __init__(self) -> None:
        self._recorded: deque[Command] = deque()
        self.index: int = -1
        """Index of the last command that was issued, recorded or new."""

    def append(self, command: Command) -> None:
        """Add a recorded command while the journal is read."""
        self._recorded.append(command)

    def __len__(self) -> int:
        return len(self._recorded)

    def peek(self) -> Command | None:
        """The next recorded command."""
        return self._recorded[0] if self._recorded else None

    def take_input(self) -> InputCommand:
        """The first command. The runtime wrote all of it, so there is nothing to compare."""
        recorded = self._recorded.popleft()
        assert isinstance(recorded, InputCommand)
        self.index += 1
        return recorded

    def repeat(self, issued: Command, *, stable: bool = True) -> Command:
        """Compare a command with the recorded one, and go on. Payloads that are not `stable` are not compared.

        Returns:
            The recorded command, whose volatile fields count.

        Raises:
            JournalMismatchError: they differ.
        """
        recorded = self._recorded[0]
        if recorded != issued and (type(recorded) is not type(issued) or _differences(recorded, issued, stable=stable)):
            raise mismatch(self.index + 1, recorded, issued)
        self._recorded.popleft()
        self.index += 1
        return recorded
