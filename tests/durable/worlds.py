"""A runtime for tests that answers when it likes: in any order, in bursts or one by one, with crashes in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

import anyio
import anyio.lowlevel

from perdure.durable.transport import Disconnected
from perdure.machine.awaiting import flat_suspension
from perdure.wire.ids import format_invocation_id
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    AttachInvocationCommand,
    AttachInvocationCompletion,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    ClearStateCommand,
    Command,
    EndMessage,
    ErrorMessage,
    Failure,
    GetLazyStateCommand,
    GetLazyStateCompletion,
    InputCommand,
    InvocationId,
    Message,
    Notification,
    OneWayCallCommand,
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
    SuspensionMessage,
    Value,
    Void,
)

__all__ = ["World"]

VOID = Void()
ID = bytes(range(24))
NOW = 1_700_000_000.0


class World:
    """The runtime's side of one invocation over many attempts; every choice is drawn from `random`.

    Args:
        random: where choices come from.
        cancel_at: the length of the journal at which the invocation is cancelled.
        twice: whether a second cancel follows at once.
        calm: whether connections hold.
        journal: what is stored already.
    """

    def __init__(
        self,
        random: Random,
        *,
        cancel_at: int | None = None,
        twice: bool = False,
        calm: bool = False,
        journal: Sequence[Message] = (InputCommand(),),
    ) -> None:
        self.random = random
        self.journal: list[Message] = list(journal)
        self.first_state = {b"a": b"1"}
        self.cancel_at = cancel_at
        self.twice = twice
        self.calm = calm
        self.now = NOW
        self.open: list[Notification] = []
        self.suspended: SuspensionMessage | None = None
        self.errors: list[ErrorMessage] = []
        self.sent: list[Message] = []
        self.chunks: list[list[Message]] = []
        self.over = False
        self.retries = 0

    # --- attempts

    def begin(self, *, lazy: bool, closed: bool) -> None:
        state = dict(self.first_state)
        for entry in self.journal:
            if isinstance(entry, SetStateCommand) and entry.value is not None:
                state[entry.key] = entry.value.content
            elif isinstance(entry, ClearStateCommand):
                state.pop(entry.key, None)
        start = StartMessage(
            id=ID,
            debug_id=format_invocation_id(ID),
            known_entries=len(self.journal),
            state_map=() if lazy else tuple(StateEntry(key, value) for key, value in state.items()),
            partial_state=lazy,
            random_seed=7,
            retry_count_since_last_stored_entry=self.retries,
        )
        self.pending: deque[Message] = deque([start, *self.journal])
        self.told = len(self.journal) if closed else 0
        self.closed = closed
        self.told_end = False
        self.cut = False
        self.over = False
        self.suspended = None
        self.sent = []
        self.chunks = []
        self.arrived: anyio.Event | None = None
        self._count_runs()

    def _count_runs(self) -> None:
        self.names = {entry.result_completion_id: entry.name for entry in self.journal if isinstance(entry, RunCommand)}
        self.completed = {entry.completion_id for entry in self.journal if isinstance(entry, RunCompletion)}

    def may_execute(self, label: str) -> None:
        """A closure runs: its result must not be stored."""
        done = {self.names[id] for id in self.completed if id in self.names}
        assert label not in done, f"{label} runs again although its result is stored"

    # --- the transport

    async def receive(self) -> list[Message] | None:
        while True:
            if self.cut:
                raise Disconnected
            if self.pending:
                whole = self.random.random() < 0.5
                count = len(self.pending) if whole else self.random.randint(1, len(self.pending))
                return [self.pending.popleft() for _ in range(count)]
            if self.closed and not self.told_end:
                self.told_end = True
                return None
            self.arrived = anyio.Event()
            await self.arrived.wait()

    async def send(self, messages: Sequence[Message]) -> None:
        assert messages, "an empty piece"
        for _ in range(self.random.randrange(3)):
            await anyio.lowlevel.checkpoint()
        if self.cut:
            raise Disconnected
        crash = not self.calm and self.random.random() < 0.08
        if crash and self.random.random() < 0.5:
            self.break_off()
            raise Disconnected  # lost
        self.chunks.append(list(messages))
        for message in messages:
            assert not self.over, f"{message!r} after the end of the attempt"
            self.take(message)
        if self.cancel_at is not None and len(self.journal) >= self.cancel_at:
            self.cancel()
        if crash:
            self.break_off()
        while self.open and self.random.random() < 0.5:
            self.answer()

    def break_off(self) -> None:
        self.cut = True
        self.wake()

    def wake(self) -> None:
        if self.arrived is not None:
            self.arrived.set()

    def store(self, notification: Notification, reply: Message | None = None) -> None:
        self.journal.append(notification)
        if not self.closed and not self.cut:
            self.pending.append(notification if reply is None else reply)
            self.wake()

    def cancel(self) -> None:
        self.cancel_at = None
        self.store(SignalNotification(CANCEL_SIGNAL, VOID))
        if self.twice:
            self.store(SignalNotification(CANCEL_SIGNAL, VOID))

    def answer(self) -> None:
        """One of the open answers comes."""
        self.store(self.open.pop(self.random.randrange(len(self.open))))

    def idle(self) -> None:
        """Nothing runs in the handler."""
        if self.pending or self.over or self.closed:
            return
        if self.open:
            self.answer()
        elif self.cancel_at is not None:
            self.cancel()
        else:
            self.closed = True
            self.wake()

    def after(self) -> bool:
        """Between two attempts; tells whether anything can go on."""
        if self.suspended is None or self.arrived_meanwhile():
            return True
        if self.open:
            self.answer()
        elif self.cancel_at is not None:
            self.cancel()
        else:
            return self.signal()
        return True

    def waits(self) -> SuspensionMessage:
        """What the suspended handler waits for."""
        assert self.suspended is not None
        tree = self.suspended.awaiting_on
        return self.suspended if tree is None else flat_suspension(tree)

    def arrived_meanwhile(self) -> bool:
        """Whether something was stored that the handler was not told, and that it waits for."""
        waits = self.waits()
        for entry in self.journal[self.told :]:
            if isinstance(entry, SignalNotification):
                if entry.signal in {*waits.waiting_signals, *waits.waiting_named_signals}:
                    return True
            elif isinstance(entry, Notification) and entry.completion_id in waits.waiting_completions:  # type: ignore[attr-defined]  # all but signals have one
                return True
        return False

    def signal(self) -> bool:
        """Send a signal that is waited for."""
        message = self.waits()
        signals = [signal for signal in (*message.waiting_signals, *message.waiting_named_signals) if signal != 1]
        if not signals:
            return False
        signal: Any = self.random.choice(signals)
        self.store(SignalNotification(signal, Value(b'"%d"' % len(self.journal))))
        return True

    # --- messages

    def take(self, message: Message) -> None:
        self.sent.append(message)
        if isinstance(message, Command):
            self.journal.append(message)
            self.retries = 0
        match message:
            case RunCommand(result_completion_id=id, name=name):
                self.names[id] = name
            case ProposeRunCompletionMessage(result_completion_id=id, result=result, requested_ack=ack):
                assert result is not None
                assert id in self.names, "a result without its command"
                assert id not in self.completed, "a second result"
                self.completed.add(id)
                self.store(RunCompletion(id, result), ProposeRunCompletionAckMessage(id) if ack else None)
            case SleepCommand(result_completion_id=id):
                self.open.append(SleepCompletion(id, VOID))
            case CallCommand(handler_name=handler, invocation_id_notification_idx=id, result_completion_id=result_id):
                self.store(CallInvocationIdCompletion(id, InvocationId(f"inv_1{id}")))
                answer = Failure(420, "call") if handler == "fails" else Value(message.parameter)
                self.open.append(CallCompletion(result_id, answer))
            case OneWayCallCommand(invocation_id_notification_idx=id):
                self.open.append(CallInvocationIdCompletion(id, InvocationId(f"inv_1{id}")))
            case AttachInvocationCommand(result_completion_id=id, target=target):
                assert isinstance(target, InvocationId)
                self.open.append(AttachInvocationCompletion(id, Value(target.id.encode())))
            case GetLazyStateCommand(result_completion_id=id, key=key):
                self.open.append(GetLazyStateCompletion(id, self.state(key)))
            case SuspensionMessage():
                self.suspended = message
                self.over = True
            case ErrorMessage():
                self.errors.append(message)
                self.retries += 1
                self.over = True
            case EndMessage():
                self.over = True

    def state(self, key: bytes) -> Value | Void:
        value = self.first_state.get(key)
        for entry in self.journal:
            if isinstance(entry, SetStateCommand) and entry.key == key and entry.value is not None:
                value = entry.value.content
            elif isinstance(entry, ClearStateCommand) and entry.key == key:
                value = None
        return VOID if value is None else Value(value)
