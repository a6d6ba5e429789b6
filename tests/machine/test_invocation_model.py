"""A machine against a model of it: any commands, any order of arrival, crashes at any moment, any version.

The model is a script (what the handler did, deliveries included) and a journal (what the runtime stored). After a crash
a fresh machine reads the journal and the script is done again: nothing may be written, and every leaf must have the
result that it had. The model counts ids and looks up results in the naive way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from perdure.machine.awaiting import PENDING, Leaf
from perdure.machine.invocation import Invocation
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    ClearAllStateCommand,
    ClearStateCommand,
    Command,
    EndMessage,
    Failure,
    GetEagerStateCommand,
    GetLazyStateCommand,
    GetLazyStateCompletion,
    InvocationId,
    Message,
    Notification,
    OneWayCallCommand,
    OutputCommand,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SignalNotification,
    SleepCommand,
    SleepCompletion,
    Value,
    Void,
)
from perdure.wire.versions import ProtocolVersion
from tests.machine.peers import Peer, journal_of

VOID = Void()
KEYS = st.sampled_from(["a", "b"])
RESULTS = st.binary(max_size=2).map(Value) | st.just(Failure(409, "no"))


@dataclass
class Step:
    """One thing the handler did."""

    kind: str
    argument: Any = None
    command: int | None = None  # its index in the journal, when it writes one
    slots: tuple[int, ...] = ()  # of the leaves that it made


class Attempts(RuleBasedStateMachine):
    """One invocation over several attempts."""

    @initialize(
        version=st.sampled_from(ProtocolVersion),
        as_bytes=st.booleans(),
        state=st.dictionaries(KEYS.map(str.encode), st.binary(max_size=2)),
        lazy=st.booleans(),
    )
    def begin(self, version: ProtocolVersion, as_bytes: bool, state: dict[bytes, bytes], lazy: bool) -> None:
        self.version = version
        self.as_bytes = as_bytes
        self.first_state = state
        self.script: list[Step] = []
        self.journal: list[Message] = []
        self.wire: list[Message] = []
        self.open_calls: dict[int, type[Notification]] = {}
        self.proposed: set[int] = set()
        self.start(lazy=lazy)

    # --- the runtime

    @property
    def stored_state(self) -> dict[bytes, bytes]:
        state = dict(self.first_state)
        for entry in self.journal:
            match entry:
                case SetStateCommand(key=key, value=Value(content=content)):
                    state[key] = content
                case ClearStateCommand(key=key):
                    state.pop(key, None)
                case ClearAllStateCommand():
                    state.clear()
        return state

    def start(self, *, lazy: bool) -> None:
        """A new attempt, up to the point to which the journal tells."""
        self.machine = Invocation(self.version, counts_signals=True)
        self.peer = Peer(self.machine, as_bytes=self.as_bytes)
        sent = {key: value for key, value in self.stored_state.items() if not (lazy and key == b"a")}
        self.peer.tells(*journal_of(*self.journal, state=sent, partial=lazy))
        self.wire.clear()
        self.machine.input()
        self.leaves: dict[int, Leaf] = {}
        self.unsent: list[Message] = []
        self.queue = deque(entry for entry in self.journal if isinstance(entry, Notification))
        self.view = None if lazy else dict(self.stored_state)
        self.known = {key: sent.get(key) for key in sent}
        self.next_id = 1
        self.next_signal = 17
        self.waiting: dict[int | str, list[int]] = {}
        self.kept: dict[int | str, list[Any]] = {}
        self.by_id: dict[int, int] = {}
        self.results: dict[int, Any] = {}
        self.settled_by: dict[int, int] = {}  # how many steps had been made then
        self.proposed = {entry.completion_id for entry in self.journal if isinstance(entry, RunCompletion)}

    def store(self, notification: Notification) -> None:
        self.journal.append(notification)
        if isinstance(notification, RunCompletion) and self.version is ProtocolVersion.V7:
            self.wire.append(ProposeRunCompletionAckMessage(notification.completion_id))
        else:
            self.wire.append(notification)

    @rule()
    def hand_over(self) -> None:
        sent = self.peer.hears()
        assert sent == self.unsent
        self.unsent = []
        for message in sent:
            if isinstance(message, ProposeRunCompletionMessage):
                assert message.requested_ack is (self.version is ProtocolVersion.V7)
                assert message.result is not None
                self.store(RunCompletion(message.result_completion_id, message.result))
                continue
            self.journal.append(message)
            match message:
                case SleepCommand(result_completion_id=id):
                    self.open_calls[id] = SleepCompletion
                case CallCommand(invocation_id_notification_idx=id, result_completion_id=result):
                    self.store(CallInvocationIdCompletion(id, InvocationId(f"inv_1{id}")))
                    self.open_calls[result] = CallCompletion
                case OneWayCallCommand(invocation_id_notification_idx=id):
                    self.store(CallInvocationIdCompletion(id, InvocationId(f"inv_1{id}")))
                case GetLazyStateCommand(key=key, result_completion_id=id):
                    value = self.stored_state.get(key)
                    self.store(GetLazyStateCompletion(id, VOID if value is None else Value(value)))

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data(), result=RESULTS)
    def complete(self, data: st.DataObject, result: Value | Failure) -> None:
        id = data.draw(st.sampled_from(sorted(self.open_calls)))
        kind = self.open_calls.pop(id)
        self.store(SleepCompletion(id, VOID) if kind is SleepCompletion else CallCompletion(id, result))

    @rule(signal=st.sampled_from(["go", "stop", 17, 18, CANCEL_SIGNAL]), result=RESULTS)
    def signal(self, signal: int | str, result: Value | Failure) -> None:
        self.store(SignalNotification(signal, result))

    @rule()
    def arrive(self) -> None:
        self.peer.tells(*self.wire)
        for message in self.wire:
            if isinstance(message, ProposeRunCompletionAckMessage):
                (entry,) = (
                    entry
                    for entry in self.journal
                    if isinstance(entry, RunCompletion) and entry.completion_id == message.completion_id
                )
                self.queue.append(entry)
            else:
                assert isinstance(message, Notification)
                self.queue.append(message)
        self.wire.clear()

    @rule(lazy=st.booleans())
    def crash(self, lazy: bool) -> None:
        """Everything that was not stored is lost; the rest is done again."""
        commands = 1 + sum(isinstance(entry, Command) for entry in self.journal)
        kept: list[Step] = []
        for step in self.script:
            if step.command is not None and step.command >= commands:
                break
            kept.append(step)
        before, settled_by = self.results, self.settled_by
        self.script = []
        self.start(lazy=lazy)
        for step in kept:
            self.do(step.kind, step.argument)
        assert self.script == kept
        assert self.unsent == []
        assert not self.machine.replaying
        slots = {slot for step in kept for slot in step.slots}
        # What was delivered behind a lost command is delivered again, at its time.
        again = {slot for slot, steps in settled_by.items() if slot in slots and steps <= len(kept)}
        assert self.results == {slot: result for slot, result in before.items() if slot in again}
        self.agrees()

    # --- the handler

    @rule(
        kind=st.sampled_from(["run", "sleep", "call", "send", "set", "clear", "clear all", "get", "get"]),
        key=KEYS,
    )
    def issue(self, kind: str, key: str) -> None:
        self.do(kind, key)

    @rule(name=st.sampled_from(["go", "stop", None]))
    def await_signal(self, name: str | None) -> None:
        self.do("signal", name)

    @rule(times=st.integers(1, 4))
    def deliver(self, times: int) -> None:
        for _ in range(times):
            if self.queue:
                self.do("deliver")
            else:
                assert self.machine.deliver() is None

    @precondition(lambda self: any(step.kind == "run" for step in self.script))
    @rule(data=st.data(), result=RESULTS)
    def propose(self, data: st.DataObject, result: Value | Failure) -> None:
        runs = [self.leaves[step.slots[0]] for step in self.script if step.kind == "run"]
        leaf = data.draw(st.sampled_from(runs))
        if leaf.id not in self.proposed and not self.machine.replaying:
            self.proposed.add(leaf.id)
            self.machine.propose_run(leaf, result)
            self.unsent.append(
                ProposeRunCompletionMessage(leaf.id, result, requested_ack=self.version is ProtocolVersion.V7)
            )

    def do(self, kind: str, argument: Any = None) -> None:
        """Do one step, and say what the model expects of it."""
        step = Step(kind, argument)
        match kind:
            case "deliver":
                self.expect_delivery()
                assert self.machine.deliver() is not None
            case "signal":
                self.await_one(step, argument)
            case _:
                self.command(step, kind, argument)
        self.script.append(step)
        for slot in self.results:
            self.settled_by.setdefault(slot, len(self.script))

    def command(self, step: Step, kind: str, key: str) -> None:
        step.command = self.machine.command_index + 1
        recorded = self.machine.replaying
        first = self.next_id
        raw = key.encode()
        expected: Command
        match kind:
            case "run":
                step.slots = self.made(self.machine.run(key))
                expected = RunCommand(first, key)
            case "sleep":
                step.slots = self.made(self.machine.sleep(7))
                expected = SleepCommand(7, first)
            case "call":
                step.slots = self.made(*self.machine.call("S", "h", raw))
                expected = CallCommand(
                    "S", "h", raw, invocation_id_notification_idx=first, result_completion_id=first + 1
                )
            case "send":
                step.slots = self.made(self.machine.send("S", "h", raw))
                expected = OneWayCallCommand("S", "h", raw, invocation_id_notification_idx=first)
            case "set":
                self.machine.set_state(key, raw)
                expected = SetStateCommand(raw, Value(raw))
                self.known[raw] = raw
            case "clear":
                self.machine.clear_state(key)
                expected = ClearStateCommand(raw)
                self.known[raw] = None
            case "clear all":
                self.machine.clear_all_state()
                expected = ClearAllStateCommand()
                self.known = {}
                self.view = {}
            case _:
                expected = self.read(step, key, recorded=recorded)
        if not recorded:
            self.unsent.append(expected)

    def read(self, step: Step, key: str, *, recorded: bool) -> Command:
        raw = key.encode()
        entry: Message | None = None
        if recorded:
            entry = [entry for entry in self.journal if isinstance(entry, Command)][self.machine.command_index]
        eager = (
            isinstance(entry, GetEagerStateCommand) if entry is not None else raw in self.known or self.view is not None
        )
        first = self.next_id
        step.slots = self.made(self.machine.get_state(key))
        if not eager:
            return GetLazyStateCommand(raw, first)
        del self.by_id[first]
        value = self.known.get(raw) if raw in self.known else (self.view or {}).get(raw)
        result = entry.result if isinstance(entry, GetEagerStateCommand) else VOID if value is None else Value(value)
        self.results[step.slots[0]] = result
        return GetEagerStateCommand(raw, VOID if value is None else Value(value))

    def made(self, *leaves: Leaf) -> tuple[int, ...]:
        """Number the leaves that a command made, each with the next id."""
        slots = []
        for leaf in leaves:
            slot = len(self.leaves)
            self.leaves[slot] = leaf
            self.by_id[self.next_id] = slot
            self.next_id += 1
            slots.append(slot)
        return tuple(slots)

    def await_one(self, step: Step, name: str | None) -> None:
        slot = len(self.leaves)
        step.slots = (slot,)
        signal: int | str
        if name is None:
            signal = self.next_signal
            self.next_signal += 1
            self.leaves[slot] = self.machine.awakeable()[1]
        else:
            signal = name
            self.leaves[slot] = self.machine.signal(name)
            self.machine.collect_signal(self.leaves[slot])
        if self.kept.get(signal):
            self.results[slot] = self.kept[signal].pop(0)
        else:
            self.waiting.setdefault(signal, []).append(slot)

    def expect_delivery(self) -> None:
        notification = self.queue.popleft()
        if not isinstance(notification, SignalNotification):
            slot = self.by_id[notification.completion_id]  # type: ignore[attr-defined]  # all but signals have one
            self.results[slot] = notification.result  # type: ignore[attr-defined]  # all have one
        elif notification.signal != CANCEL_SIGNAL:
            assert notification.signal is not None
            if self.waiting.get(notification.signal):
                self.results[self.waiting[notification.signal].pop(0)] = notification.result
            else:
                self.kept.setdefault(notification.signal, []).append(notification.result)

    @rule(result=RESULTS)
    def end(self, result: Value | Failure) -> None:
        """Another attempt of the same handler ends, with nothing but its output to write; this one goes on."""
        self.hand_over()
        machine = Invocation(self.version, counts_signals=True)
        for message in journal_of(*self.journal, state=self.stored_state):
            machine.receive(message)
        self.repeat(machine)
        machine.write_output(result)
        machine.end()
        assert machine.messages_to_send() == [OutputCommand(result), EndMessage()]

    def repeat(self, machine: Invocation) -> None:
        """Repeat the script on another machine, looking at nothing."""
        machine.input()
        leaves: list[Leaf] = []
        for step in self.script:
            match step.kind:
                case "deliver":
                    machine.deliver()
                case "signal" if step.argument is None:
                    leaves.append(machine.awakeable()[1])
                case "signal":
                    leaves.append(machine.signal(step.argument))
                    machine.collect_signal(leaves[-1])
                case "run":
                    machine.run(step.argument)
                case "sleep":
                    machine.sleep(12)
                case "call":
                    machine.call("S", "h", step.argument.encode())
                case "send":
                    machine.send("S", "h", step.argument.encode())
                case "set":
                    machine.set_state(step.argument, step.argument.encode())
                case "clear":
                    machine.clear_state(step.argument)
                case "clear all":
                    machine.clear_all_state()
                case _:
                    machine.get_state(step.argument)

    # --- what must hold

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "machine"):
            return
        assert {slot: leaf.result for slot, leaf in self.leaves.items() if leaf.state != PENDING} == self.results
        assert self.machine.undelivered == len(self.queue)
        assert not self.machine.replaying or self.machine.written == 0
        assert self.machine.has_output == bool(self.unsent)


TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
