"""A runtime in memory: the other end of the protocol, for one invocation, with virtual time.

It stores what a handler writes, completes it, and starts the next attempt when one is suspended or fails. It is a
transport of message objects, so `perdure.testing.run` needs no server; wrapped in frames it drives any ASGI app (the
core benchmark does).

What it completes by itself: steps, timers (the clock jumps to the next one when nothing else can happen), state, calls
and sends to handlers it was given results for, awakeables, signals and promises it was given values for.
"""

from __future__ import annotations

import enum
import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

import anyio

from perdure.durable.transport import Disconnected
from perdure.exceptions import UsageError
from perdure.wire.ids import format_invocation_id
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    FIRST_AWAKEABLE_SIGNAL,
    AttachInvocationCommand,
    AttachInvocationCompletion,
    AwaitingOnMessage,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    ClearAllStateCommand,
    ClearStateCommand,
    Command,
    CompletePromiseCommand,
    CompletePromiseCompletion,
    EndMessage,
    ErrorMessage,
    Failure,
    GetInvocationOutputCommand,
    GetInvocationOutputCompletion,
    GetLazyStateCommand,
    GetLazyStateCompletion,
    GetLazyStateKeysCommand,
    GetLazyStateKeysCompletion,
    GetPromiseCommand,
    GetPromiseCompletion,
    Header,
    InputCommand,
    InvocationId,
    Message,
    Notification,
    OneWayCallCommand,
    OutputCommand,
    PeekPromiseCommand,
    PeekPromiseCompletion,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SignalNotification,
    SleepCommand,
    SleepCompletion,
    StartMessage,
    StateEntry,
    StateKeys,
    SuspensionMessage,
    Value,
    Void,
)

__all__ = ["AttemptOver", "InMemoryRuntime"]

_VOID: Final = Void()
_EPOCH: Final = 1_700_000_000.0
CallResult = Callable[[CallCommand | OneWayCallCommand], Value | Failure | None]


class AttemptOver(enum.Enum):
    """How the last attempt ended, as the runtime saw it."""

    ENDED = "ended"
    SUSPENDED = "suspended"
    FAILED = "failed"
    CUT = "cut"


class InMemoryRuntime:
    """The runtime's side of one invocation.

    Args:
        payload: the request.
        key: of a virtual object or workflow.
        headers: of the request.
        state: what the object holds.
        lazy_state: whether the handler has to ask for every key.
        answer: gives the result of a call or of what was sent, `None` leaves it open.
        signals: values of named signals, in order of arrival, there from the start.
        awakeables: results of awakeables in the order of their creation, there from the start.
        promises: what the promises of the workflow were completed with.
        outputs: results of other invocations, by id.
        acknowledge: whether results of steps are acknowledged (version 7) or echoed (5 and 6): set by the caller to
            the version it negotiates; a proposal that asks for an ack gets one in any case.

    Attributes:
        journal: the stored entries, commands and notifications in order.
        output: the result of the invocation, once it ended.
        errors: error messages of failed attempts.
        now: the virtual time, in seconds since the Unix epoch.
    """

    def __init__(
        self,
        payload: bytes = b"",
        *,
        key: str = "",
        headers: Sequence[tuple[str, str]] = (),
        state: Mapping[str, bytes] | None = None,
        lazy_state: bool = False,
        answer: CallResult | None = None,
        signals: Sequence[tuple[str, Value | Failure]] = (),
        awakeables: Sequence[Value | Failure] = (),
        promises: Mapping[str, Value | Failure] | None = None,
        outputs: Mapping[str, Value | Failure] | None = None,
        invocation_id: bytes = bytes(range(24)),
        random_seed: int = 1,
        idempotency_key: str | None = None,
    ) -> None:
        self.key = key
        self.state: dict[str, bytes] = dict(state or {})
        self.lazy_state = lazy_state
        self.invocation_id = invocation_id
        self.random_seed = random_seed
        self.idempotency_key = idempotency_key
        self.now: float = _EPOCH
        self.journal: list[Message] = [
            InputCommand(tuple(Header(name, value) for name, value in headers), Value(payload))
        ]
        self.output: Value | Failure | None = None
        self.errors: list[ErrorMessage] = []
        self.suspensions: list[SuspensionMessage] = []
        self.hints: list[AwaitingOnMessage] = []
        self.over: AttemptOver | None = None
        self.promises: dict[str, Value | Failure] = dict(promises or {})
        self.outputs: dict[str, Value | Failure] = dict(outputs or {})
        self._answer = answer if answer is not None else lambda _: None
        self._timers: list[tuple[int, int]] = []
        self._open_runs: set[int] = set()
        self._promised: dict[str, list[int]] = {}
        self._last_stored = _EPOCH
        self._pending: deque[Message] = deque()
        self._arrived: anyio.Event | None = None
        self._close_after_journal = False
        self._closed = False
        self._cut = False
        self._callees = 0
        self._debug_id = format_invocation_id(invocation_id)
        self.clock_moves: int = 0
        for name, value in signals:
            self._store(SignalNotification(name, value))
        for index, value in enumerate(awakeables):
            self._store(SignalNotification(FIRST_AWAKEABLE_SIGNAL + index, value))

    # --- attempts --------------------------------------------------------------------------------------------------

    def begin(self, *, close_after_journal: bool = False, retry_count: int = 0) -> None:
        """Start the next attempt; with `close_after_journal` every await that is not in the journal suspends."""
        self.over = None
        self._close_after_journal = close_after_journal
        self._closed = False
        self._cut = False
        self._open_runs.clear()
        start = StartMessage(
            id=self.invocation_id,
            debug_id=self._debug_id,
            known_entries=len(self.journal),
            state_map=()
            if self.lazy_state
            else tuple(StateEntry(key.encode(), value) for key, value in self.state.items()),
            partial_state=self.lazy_state,
            key=self.key,
            retry_count_since_last_stored_entry=retry_count,
            duration_since_last_stored_entry=round((self.now - self._last_stored) * 1000),
            random_seed=self.random_seed,
            idempotency_key=self.idempotency_key,
        )
        self._pending = deque([start, *self.journal])
        if close_after_journal:
            self.close_input()

    def close_input(self) -> None:
        """Send nothing more: whatever the handler waits for from here on suspends it."""
        self._close_after_journal = True
        self._wake()

    def cut(self) -> None:
        """Break the connection."""
        self._cut = True
        self._wake()

    def cancel(self) -> None:
        """Cancel the invocation."""
        self.notify(SignalNotification(CANCEL_SIGNAL, _VOID))

    def notify(self, notification: Notification) -> None:
        """Store a notification, and send it when an attempt is open."""
        self._store(notification)
        self._send(notification)

    def _store(self, entry: Command | Notification) -> None:
        self.journal.append(entry)
        self._last_stored = self.now

    def _send(self, message: Message) -> None:
        if self.over is None and not self._close_after_journal:
            self._pending.append(message)
            self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    # --- the transport ---------------------------------------------------------------------------------------------

    async def receive(self) -> list[Message] | None:
        """What the handler is to receive next: everything there is."""
        while True:
            if self._cut:
                raise Disconnected
            if self._pending:
                batch = list(self._pending)
                self._pending.clear()
                return batch
            if self._close_after_journal and not self._closed:
                self._closed = True
                return None
            self._arrived = anyio.Event()
            await self._arrived.wait()

    def take_pending(self) -> list[Message]:
        """What the handler has not received yet, without waiting for more."""
        batch = list(self._pending)
        self._pending.clear()
        return batch

    async def send(self, messages: Sequence[Message]) -> None:
        """Take what the handler sent: one turn."""
        self.take(messages)

    def take(self, messages: Sequence[Message]) -> None:
        """Store commands, and answer what can be answered."""
        if self._cut:
            raise Disconnected
        for message in messages:
            handle = self._HANDLERS.get(type(message))
            if isinstance(message, Command):
                self._store(message)
            if handle is not None:
                handle(self, message)

    def idle(self) -> None:
        """Nothing runs in the handler: the clock may jump to the next timer; without one, the input is closed."""
        if self._pending or self._open_runs or self.over is not None:
            return
        if self._timers:
            wake_up_time, id = heapq.heappop(self._timers)
            self.now = max(self.now, wake_up_time / 1000)
            self.clock_moves += 1
            self.notify(SleepCompletion(id, _VOID))
        else:
            self.close_input()

    def advance(self, to: float) -> None:
        """Let the clock go on to this time, in seconds since the Unix epoch; it never goes back."""
        self.now = max(self.now, to)

    def fire_timers(self) -> bool:
        """Between attempts: store the next timer's completion; tells whether there was one."""
        if not self._timers:
            return False
        wake_up_time, id = heapq.heappop(self._timers)
        self.now = max(self.now, wake_up_time / 1000)
        self._store(SleepCompletion(id, _VOID))
        return True

    # --- what the handler writes -----------------------------------------------------------------------------------

    def _on_propose(self, message: ProposeRunCompletionMessage) -> None:
        assert message.result is not None
        self._open_runs.discard(message.result_completion_id)
        completion = RunCompletion(message.result_completion_id, message.result)
        self._store(completion)
        if message.requested_ack:
            self._send(ProposeRunCompletionAckMessage(message.result_completion_id))
        else:
            self._send(completion)

    def _on_run(self, message: RunCommand) -> None:
        self._open_runs.add(message.result_completion_id)

    def _on_sleep(self, message: SleepCommand) -> None:
        heapq.heappush(self._timers, (message.wake_up_time, message.result_completion_id))

    def _on_set_state(self, message: SetStateCommand) -> None:
        assert message.value is not None
        self.state[message.key.decode()] = message.value.content

    def _on_clear_state(self, message: ClearStateCommand) -> None:
        self.state.pop(message.key.decode(), None)

    def _on_clear_all(self, _: ClearAllStateCommand) -> None:
        self.state.clear()

    def _on_get_state(self, message: GetLazyStateCommand) -> None:
        value = self.state.get(message.key.decode())
        self.notify(GetLazyStateCompletion(message.result_completion_id, _VOID if value is None else Value(value)))

    def _on_get_keys(self, message: GetLazyStateKeysCommand) -> None:
        keys = StateKeys(tuple(sorted(key.encode() for key in self.state)))
        self.notify(GetLazyStateKeysCompletion(message.result_completion_id, keys))

    def _callee(self) -> InvocationId:
        self._callees += 1
        return InvocationId(format_invocation_id(self._callees.to_bytes(24, "big")))

    def _on_call(self, message: CallCommand) -> None:
        self.notify(CallInvocationIdCompletion(message.invocation_id_notification_idx, self._callee()))
        result = self._answer(message)
        if result is not None:
            self.notify(CallCompletion(message.result_completion_id, result))

    def _on_one_way_call(self, message: OneWayCallCommand) -> None:
        callee = self._callee()
        result = self._answer(message)
        if result is not None:
            self.outputs[callee.id] = result
        self.notify(CallInvocationIdCompletion(message.invocation_id_notification_idx, callee))

    def _on_attach(self, message: AttachInvocationCommand) -> None:
        result = self._output_of(message)
        if result is not None:
            self.notify(AttachInvocationCompletion(message.result_completion_id, result))

    def _on_get_output(self, message: GetInvocationOutputCommand) -> None:
        self.notify(GetInvocationOutputCompletion(message.result_completion_id, self._output_of(message) or _VOID))

    def _output_of(self, message: AttachInvocationCommand | GetInvocationOutputCommand) -> Value | Failure | None:
        return self.outputs.get(message.target.id) if isinstance(message.target, InvocationId) else None

    def _on_get_promise(self, message: GetPromiseCommand) -> None:
        result = self.promises.get(message.key)
        if result is not None:
            self.notify(GetPromiseCompletion(message.result_completion_id, result))
        else:
            self._promised.setdefault(message.key, []).append(message.result_completion_id)

    def _on_peek_promise(self, message: PeekPromiseCommand) -> None:
        self.notify(PeekPromiseCompletion(message.result_completion_id, self.promises.get(message.key) or _VOID))

    def _on_complete_promise(self, message: CompletePromiseCommand) -> None:
        assert message.completion is not None
        if message.key in self.promises:
            failure = Failure(409, "the promise was completed before")
            self.notify(CompletePromiseCompletion(message.result_completion_id, failure))
            return
        self.promises[message.key] = message.completion
        self.notify(CompletePromiseCompletion(message.result_completion_id, _VOID))
        for id in self._promised.pop(message.key, ()):
            self.notify(GetPromiseCompletion(id, message.completion))

    def _on_output(self, message: OutputCommand) -> None:
        self.output = message.result

    def _on_end(self, _: EndMessage) -> None:
        if self.output is None:
            raise UsageError("the handler ended without an output: a real server would not survive this")
        self.over = AttemptOver.ENDED

    def _on_suspension(self, message: SuspensionMessage) -> None:
        self.suspensions.append(message)
        self.over = AttemptOver.SUSPENDED

    def _on_error(self, message: ErrorMessage) -> None:
        self.errors.append(message)
        self.over = AttemptOver.FAILED

    def _on_hint(self, message: AwaitingOnMessage) -> None:
        self.hints.append(message)

    _HANDLERS: ClassVar[dict[type[Message], Callable[..., None]]] = {
        ProposeRunCompletionMessage: _on_propose,
        RunCommand: _on_run,
        SleepCommand: _on_sleep,
        SetStateCommand: _on_set_state,
        ClearStateCommand: _on_clear_state,
        ClearAllStateCommand: _on_clear_all,
        GetLazyStateCommand: _on_get_state,
        GetLazyStateKeysCommand: _on_get_keys,
        CallCommand: _on_call,
        OneWayCallCommand: _on_one_way_call,
        AttachInvocationCommand: _on_attach,
        GetInvocationOutputCommand: _on_get_output,
        GetPromiseCommand: _on_get_promise,
        PeekPromiseCommand: _on_peek_promise,
        CompletePromiseCommand: _on_complete_promise,
        OutputCommand: _on_output,
        EndMessage: _on_end,
        SuspensionMessage: _on_suspension,
        ErrorMessage: _on_error,
        AwaitingOnMessage: _on_hint,
    }
