"""Every message of the Restate service protocol, versions 5 to 7, as one frozen struct each.

The class is the table: its `tag` is the 16-bit type code of the frame header, its attributes carry their field numbers
(see `perdure.wire.fields`). A reader can hold this module beside `protocol.proto` and compare line by line.

Three families share three bases:

* `Control` messages (0x0000 to 0x03FF) frame an attempt: start, suspension, error, end, proposals and hints.
* `Command` messages (0x0400 to 0x7FFF) are what a handler did, in the order in which it did it.
* `Notification` messages (0x8000 to 0xFBFF) are what came back: completions of commands, and signals.

Results are small structs (`Value`, `Failure`, `Void`, `InvocationId`, `StateKeys`), one attribute `result` whatever the
message, so that a completion is read the same way everywhere.

Source: `service-protocol/dev/restate/service/protocol.proto` and `src/service_protocol/header.rs` in
restatedev/sdk-shared-core.
"""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar, Final, TypeAlias

import msgspec

from perdure.wire.fields import (
    BOOL,
    BYTES,
    ENUM,
    MESSAGE,
    STRING,
    UINT32,
    UINT64,
    Arm,
    Field,
    Flag,
    OneOf,
    Presence,
)

_OPTIONAL: Final = Presence.EXPLICIT
_REPEATED: Final = Presence.REPEATED

CANCEL_SIGNAL: Final = 1
"""The built-in signal that cancels an invocation (`BuiltInSignal.CANCEL`)."""

FIRST_AWAKEABLE_SIGNAL: Final = 17
"""Signals 1 to 16 are reserved; awakeables of an invocation are numbered from here."""


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A nested message: it has fields, but no type code of its own on the wire."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message with a type code. Concrete classes give it as `tag`."""

    type_code: ClassVar[int]
    """The type code of the frame header; equal to the struct's tag. (Not `code`: that is a field of `ErrorMessage`.)"""


class Control(Message, frozen=True):
    """A message about the attempt itself; never part of the journal."""


class Command(Message, frozen=True):
    """A journal entry made by the handler."""


class Notification(Message, frozen=True):
    """A journal entry made by the runtime: the completion of a command, or a signal."""


# --- results and other parts ---------------------------------------------------------------------------------------


class Void(Part, frozen=True, tag=1):
    """Nothing: an absent value, the firing of a timer."""


class Value(Part, frozen=True, tag=2):
    """A payload, in whatever encoding the handler's serde chose."""

    content: Annotated[bytes, Field(1, BYTES)] = b""


class FailureMetadata(Part, frozen=True):
    """One pair of a failure's metadata."""

    key: Annotated[str, Field(1, STRING)] = ""
    value: Annotated[str, Field(2, STRING)] = ""


class Failure(Part, frozen=True, tag=3):
    """A terminal error as data: an HTTP-like code, a message, and (from version 6) metadata."""

    code: Annotated[int, Field(1, UINT32)] = 0
    message: Annotated[str, Field(2, STRING)] = ""
    metadata: Annotated[tuple[FailureMetadata, ...], Field(3, MESSAGE, _REPEATED, since=6)] = ()


class InvocationId(Part, frozen=True, tag=4):
    """The id of another invocation, as text (`inv_1...`)."""

    id: Annotated[str, Field(1, STRING)] = ""


class StateKeys(Part, frozen=True, tag=5):
    """The keys of an object's state."""

    keys: Annotated[tuple[bytes, ...], Field(1, BYTES, _REPEATED)] = ()


class WorkflowTarget(Part, frozen=True, tag=6):
    """A workflow's run, named by its key."""

    workflow_name: Annotated[str, Field(1, STRING)] = ""
    workflow_key: Annotated[str, Field(2, STRING)] = ""
    scope: Annotated[str | None, Field(3, STRING, _OPTIONAL, since=7)] = None


class IdempotentRequestTarget(Part, frozen=True, tag=7):
    """An invocation, named by the idempotency key it was made with."""

    service_name: Annotated[str, Field(1, STRING)] = ""
    service_key: Annotated[str | None, Field(2, STRING, _OPTIONAL)] = None
    handler_name: Annotated[str, Field(3, STRING)] = ""
    idempotency_key: Annotated[str, Field(4, STRING)] = ""
    scope: Annotated[str | None, Field(5, STRING, _OPTIONAL, since=7)] = None


class Header(Part, frozen=True):
    """One header of a call."""

    key: Annotated[str, Field(1, STRING)] = ""
    value: Annotated[str, Field(2, STRING)] = ""


class StateEntry(Part, frozen=True):
    """One key of the state that comes with the start message."""

    key: Annotated[bytes, Field(1, BYTES)] = b""
    value: Annotated[bytes, Field(2, BYTES)] = b""


class CombinatorType(enum.IntEnum):
    """How the children of an await point are combined."""

    UNKNOWN = 0
    FIRST_COMPLETED = 1
    ALL_COMPLETED = 2
    FIRST_SUCCEEDED_OR_ALL_FAILED = 3
    ALL_SUCCEEDED_OR_FIRST_FAILED = 4


class ErrorBehavior(enum.IntEnum):
    """What the runtime shall do after an `ErrorMessage` (version 7)."""

    RETRY = 0
    PAUSE = 1
    FAIL = 2


class Future(Part, frozen=True):
    """An await point: leaves by kind, nested points, and how they are combined (version 7)."""

    waiting_completions: Annotated[tuple[int, ...], Field(1, UINT32, _REPEATED)] = ()
    waiting_signals: Annotated[tuple[int, ...], Field(2, UINT32, _REPEATED)] = ()
    waiting_named_signals: Annotated[tuple[str, ...], Field(3, STRING, _REPEATED)] = ()
    nested_futures: Annotated[tuple[Future, ...], Field(4, MESSAGE, _REPEATED)] = ()
    combinator_type: Annotated[CombinatorType, Field(5, ENUM)] = CombinatorType.UNKNOWN


Result: TypeAlias = Void | Value | Failure | InvocationId | StateKeys
"""What a notification can hold."""

ValueOrFailure: TypeAlias = Value | Failure | None
VoidOrValue: TypeAlias = Void | Value | None
VoidOrFailure: TypeAlias = Void | Failure | None
AnyOutcome: TypeAlias = Void | Value | Failure | None
Target: TypeAlias = InvocationId | IdempotentRequestTarget | WorkflowTarget | None

_VOID_4: Final = Arm(4, MESSAGE, Void)
_VALUE_5: Final = Arm(5, MESSAGE, Value)
_FAILURE_6: Final = Arm(6, MESSAGE, Failure)
_VALUE_14: Final = Arm(14, MESSAGE, Value)
_FAILURE_15: Final = Arm(15, MESSAGE, Failure)
_TARGET: Final = OneOf(
    Arm(1, STRING, InvocationId, bare=True),
    Arm(3, MESSAGE, IdempotentRequestTarget),
    Arm(4, MESSAGE, WorkflowTarget),
)
_SIGNAL_ID: Final = OneOf(Arm(2, UINT32, int), Arm(3, STRING, str))


# --- control -------------------------------------------------------------------------------------------------------


class StartMessage(Control, frozen=True, tag=0x0000):
    """First message of every attempt: who is invoked, how long the journal is, and the state sent along.

    `duration_since_last_stored_entry` is in milliseconds. `id` is 24 raw bytes.
    """

    id: Annotated[bytes, Field(1, BYTES)] = b""
    debug_id: Annotated[str, Field(2, STRING)] = ""
    known_entries: Annotated[int, Field(3, UINT32)] = 0
    state_map: Annotated[tuple[StateEntry, ...], Field(4, MESSAGE, _REPEATED)] = ()
    partial_state: Annotated[bool, Field(5, BOOL)] = False
    key: Annotated[str, Field(6, STRING)] = ""
    retry_count_since_last_stored_entry: Annotated[int, Field(7, UINT32)] = 0
    duration_since_last_stored_entry: Annotated[int, Field(8, UINT64)] = 0
    random_seed: Annotated[int, Field(9, UINT64, since=6)] = 0
    scope: Annotated[str | None, Field(10, STRING, _OPTIONAL, since=7)] = None
    limit_key: Annotated[str | None, Field(11, STRING, _OPTIONAL, since=7)] = None
    idempotency_key: Annotated[str | None, Field(12, STRING, _OPTIONAL, since=7)] = None


class SuspensionMessage(Control, frozen=True, tag=0x0001):
    """The attempt ends and waits. Versions 5 and 6 list the leaves flat, version 7 sends the tree."""

    waiting_completions: Annotated[tuple[int, ...], Field(1, UINT32, _REPEATED)] = ()
    waiting_signals: Annotated[tuple[int, ...], Field(2, UINT32, _REPEATED)] = ()
    waiting_named_signals: Annotated[tuple[str, ...], Field(3, STRING, _REPEATED)] = ()
    awaiting_on: Annotated[Future | None, Field(4, MESSAGE, _OPTIONAL, since=7)] = None


class ErrorMessage(Control, frozen=True, tag=0x0002):
    """The attempt failed; the runtime retries, pauses or fails it. `next_retry_delay` is in milliseconds."""

    code: Annotated[int, Field(1, UINT32)] = 0
    message: Annotated[str, Field(2, STRING)] = ""
    stacktrace: Annotated[str, Field(3, STRING)] = ""
    related_command_index: Annotated[int | None, Field(4, UINT32, _OPTIONAL)] = None
    related_command_name: Annotated[str | None, Field(5, STRING, _OPTIONAL)] = None
    related_command_type: Annotated[int | None, Field(6, UINT32, _OPTIONAL)] = None
    next_retry_delay: Annotated[int | None, Field(8, UINT64, _OPTIONAL)] = None
    behavior: Annotated[ErrorBehavior, Field(9, ENUM, since=7)] = ErrorBehavior.RETRY


class EndMessage(Control, frozen=True, tag=0x0003):
    """The invocation is over; its journal is closed."""


class CommandAckMessage(Control, frozen=True, tag=0x0004):
    """A command was stored. The runtime of versions 5 to 7 does not send it; it is accepted and ignored."""

    command_index: Annotated[int, Field(1, UINT32)] = 0


class ProposeRunCompletionMessage(Control, frozen=True, tag=0x0005):
    """The result of a `run` closure, for the runtime to store.

    With `requested_ack` (always set in version 7) the runtime answers with an ack, otherwise with the completion.
    """

    result_completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[ValueOrFailure, OneOf(Arm(14, BYTES, Value, bare=True), _FAILURE_15)] = None
    requested_ack: Annotated[bool, Flag(0x8000)] = False


class AwaitingOnMessage(Control, frozen=True, tag=0x0006):
    """A hint: what the handler waits for right now (version 7)."""

    awaiting_on: Annotated[Future | None, Field(1, MESSAGE, _OPTIONAL)] = None
    executing_side_effects: Annotated[bool, Field(2, BOOL)] = False


class ProposeRunCompletionAckMessage(Control, frozen=True, tag=0x0007):
    """A proposal was stored. Ordered among the notifications: it stands where the completion will stand in a replay."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0


# --- input and output ----------------------------------------------------------------------------------------------


class InputCommand(Command, frozen=True, tag=0x0400):
    """First entry of every journal: headers and payload of the request."""

    headers: Annotated[tuple[Header, ...], Field(1, MESSAGE, _REPEATED)] = ()
    value: Annotated[Value | None, Field(14, MESSAGE, _OPTIONAL)] = None
    name: Annotated[str, Field(12, STRING)] = ""


class OutputCommand(Command, frozen=True, tag=0x0401):
    """The result of the invocation."""

    result: Annotated[ValueOrFailure, OneOf(_VALUE_14, _FAILURE_15)] = None
    name: Annotated[str, Field(12, STRING)] = ""


# --- state ---------------------------------------------------------------------------------------------------------


class GetLazyStateCommand(Command, frozen=True, tag=0x0402):
    """Read a key that was not sent along."""

    key: Annotated[bytes, Field(1, BYTES)] = b""
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class GetLazyStateCompletion(Notification, frozen=True, tag=0x8002):
    """The value of a key, or nothing."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[VoidOrValue, OneOf(_VOID_4, _VALUE_5)] = None


class SetStateCommand(Command, frozen=True, tag=0x0403):
    """Write a key."""

    key: Annotated[bytes, Field(1, BYTES)] = b""
    value: Annotated[Value | None, Field(3, MESSAGE, _OPTIONAL)] = None
    name: Annotated[str, Field(12, STRING)] = ""


class ClearStateCommand(Command, frozen=True, tag=0x0404):
    """Remove a key."""

    key: Annotated[bytes, Field(1, BYTES)] = b""
    name: Annotated[str, Field(12, STRING)] = ""


class ClearAllStateCommand(Command, frozen=True, tag=0x0405):
    """Remove every key."""

    name: Annotated[str, Field(12, STRING)] = ""


class GetLazyStateKeysCommand(Command, frozen=True, tag=0x0406):
    """List the keys of a state that was sent in part."""

    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class GetLazyStateKeysCompletion(Notification, frozen=True, tag=0x8006):
    """The keys."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[StateKeys | None, Field(17, MESSAGE, _OPTIONAL)] = None


class GetEagerStateCommand(Command, frozen=True, tag=0x0407):
    """Read a key that was sent along; the entry holds the answer."""

    key: Annotated[bytes, Field(1, BYTES)] = b""
    result: Annotated[VoidOrValue, OneOf(Arm(13, MESSAGE, Void), _VALUE_14)] = None
    name: Annotated[str, Field(12, STRING)] = ""


class GetEagerStateKeysCommand(Command, frozen=True, tag=0x0408):
    """List the keys of a state that was sent whole; the entry holds the answer."""

    value: Annotated[StateKeys | None, Field(14, MESSAGE, _OPTIONAL)] = None
    name: Annotated[str, Field(12, STRING)] = ""


# --- promises of a workflow ----------------------------------------------------------------------------------------


class GetPromiseCommand(Command, frozen=True, tag=0x0409):
    """Wait for a promise."""

    key: Annotated[str, Field(1, STRING)] = ""
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class GetPromiseCompletion(Notification, frozen=True, tag=0x8009):
    """What the promise was completed with."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[ValueOrFailure, OneOf(_VALUE_5, _FAILURE_6)] = None


class PeekPromiseCommand(Command, frozen=True, tag=0x040A):
    """Look at a promise without waiting."""

    key: Annotated[str, Field(1, STRING)] = ""
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class PeekPromiseCompletion(Notification, frozen=True, tag=0x800A):
    """The promise as it is now: nothing, a value, or a failure."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[AnyOutcome, OneOf(_VOID_4, _VALUE_5, _FAILURE_6)] = None


class CompletePromiseCommand(Command, frozen=True, tag=0x040B):
    """Complete a promise with a value or a failure."""

    key: Annotated[str, Field(1, STRING)] = ""
    completion: Annotated[ValueOrFailure, OneOf(Arm(2, MESSAGE, Value), Arm(3, MESSAGE, Failure))] = None
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class CompletePromiseCompletion(Notification, frozen=True, tag=0x800B):
    """Whether completing worked: it fails when the promise was complete already."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[VoidOrFailure, OneOf(_VOID_4, _FAILURE_6)] = None


# --- timers, calls, signals, runs ----------------------------------------------------------------------------------


class SleepCommand(Command, frozen=True, tag=0x040C):
    """Set a timer. `wake_up_time` is in milliseconds since the Unix epoch."""

    wake_up_time: Annotated[int, Field(1, UINT64)] = 0
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class SleepCompletion(Notification, frozen=True, tag=0x800C):
    """The timer fired."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[Void | None, Field(4, MESSAGE, _OPTIONAL)] = None


class CallCommand(Command, frozen=True, tag=0x040D):
    """Call a handler and wait for its result. Two completions: the callee's invocation id, then its result."""

    service_name: Annotated[str, Field(1, STRING)] = ""
    handler_name: Annotated[str, Field(2, STRING)] = ""
    parameter: Annotated[bytes, Field(3, BYTES)] = b""
    headers: Annotated[tuple[Header, ...], Field(4, MESSAGE, _REPEATED)] = ()
    key: Annotated[str, Field(5, STRING)] = ""
    idempotency_key: Annotated[str | None, Field(6, STRING, _OPTIONAL)] = None
    scope: Annotated[str | None, Field(7, STRING, _OPTIONAL, since=7)] = None
    limit_key: Annotated[str | None, Field(8, STRING, _OPTIONAL, since=7)] = None
    invocation_id_notification_idx: Annotated[int, Field(10, UINT32)] = 0
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class CallCompletion(Notification, frozen=True, tag=0x800D):
    """The callee's result."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[ValueOrFailure, OneOf(_VALUE_5, _FAILURE_6)] = None


class CallInvocationIdCompletion(Notification, frozen=True, tag=0x800E):
    """The callee's invocation id, known once the call is stored. Answers calls and one-way calls."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[InvocationId | None, OneOf(Arm(16, STRING, InvocationId, bare=True))] = None


class OneWayCallCommand(Command, frozen=True, tag=0x040E):
    """Send to a handler. `invoke_time` is in milliseconds since the Unix epoch; 0 means at once."""

    service_name: Annotated[str, Field(1, STRING)] = ""
    handler_name: Annotated[str, Field(2, STRING)] = ""
    parameter: Annotated[bytes, Field(3, BYTES)] = b""
    invoke_time: Annotated[int, Field(4, UINT64)] = 0
    headers: Annotated[tuple[Header, ...], Field(5, MESSAGE, _REPEATED)] = ()
    key: Annotated[str, Field(6, STRING)] = ""
    idempotency_key: Annotated[str | None, Field(7, STRING, _OPTIONAL)] = None
    scope: Annotated[str | None, Field(8, STRING, _OPTIONAL, since=7)] = None
    limit_key: Annotated[str | None, Field(9, STRING, _OPTIONAL, since=7)] = None
    invocation_id_notification_idx: Annotated[int, Field(10, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class SendSignalCommand(Command, frozen=True, tag=0x0410):
    """Send a signal to an invocation, by index (1 cancels) or by name."""

    target_invocation_id: Annotated[str, Field(1, STRING)] = ""
    signal: Annotated[int | str | None, _SIGNAL_ID] = None
    result: Annotated[AnyOutcome, OneOf(_VOID_4, _VALUE_5, _FAILURE_6)] = None
    name: Annotated[str, Field(12, STRING)] = ""


class RunCommand(Command, frozen=True, tag=0x0411):
    """A closure's result is to be journaled; the result itself is proposed."""

    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class RunCompletion(Notification, frozen=True, tag=0x8011):
    """The journaled result of a closure."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[ValueOrFailure, OneOf(_VALUE_5, _FAILURE_6)] = None


class AttachInvocationCommand(Command, frozen=True, tag=0x0412):
    """Wait for the result of an existing invocation."""

    target: Annotated[Target, _TARGET] = None
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class AttachInvocationCompletion(Notification, frozen=True, tag=0x8012):
    """That invocation's result."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[ValueOrFailure, OneOf(_VALUE_5, _FAILURE_6)] = None


class GetInvocationOutputCommand(Command, frozen=True, tag=0x0413):
    """Look at the result of an existing invocation without waiting."""

    target: Annotated[Target, _TARGET] = None
    result_completion_id: Annotated[int, Field(11, UINT32)] = 0
    name: Annotated[str, Field(12, STRING)] = ""


class GetInvocationOutputCompletion(Notification, frozen=True, tag=0x8013):
    """That invocation's result, or nothing while it is not complete."""

    completion_id: Annotated[int, Field(1, UINT32)] = 0
    result: Annotated[AnyOutcome, OneOf(_VOID_4, _VALUE_5, _FAILURE_6)] = None


class CompleteAwakeableCommand(Command, frozen=True, tag=0x0414):
    """Complete an awakeable of another invocation by its id."""

    awakeable_id: Annotated[str, Field(1, STRING)] = ""
    result: Annotated[ValueOrFailure, OneOf(Arm(2, MESSAGE, Value), Arm(3, MESSAGE, Failure))] = None
    name: Annotated[str, Field(12, STRING)] = ""


class SignalNotification(Notification, frozen=True, tag=0xFBFF):
    """A signal arrived: by index (1 is cancel, awakeables from 17), or by name."""

    signal: Annotated[int | str | None, _SIGNAL_ID] = None
    result: Annotated[AnyOutcome, OneOf(_VOID_4, _VALUE_5, _FAILURE_6)] = None


MESSAGES: Final[dict[int, type[Message]]] = {}
"""Every message class by its type code."""


def _register(base: type[Message]) -> None:
    for cls in base.__subclasses__():
        tag = cls.__struct_config__.tag
        if isinstance(tag, int):
            cls.type_code = tag
            MESSAGES[tag] = cls
        _register(cls)


_register(Message)
