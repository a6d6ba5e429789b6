"""The oracle: what the engine should do, said as naively as possible.

Dictionaries and lists, everything at once, nothing cached, no pages, no batches, no rows, no summaries: what is waited
for, which timers there are and which calls are open is found by reading journals. A crash is a copy of the dictionaries
taken when a batch was closed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.wire import messages as m
from perdure.wire.ids import parse_awakeable_id, parse_invocation_id
from perdure.wire.manifest import OnMaxAttempts
from perdure.wire.messages import CombinatorType as C
from tests.engine.pure_engine import SERVICES

HANDLERS = {(offered.name, name): options for offered in SERVICES for name, options in offered.handlers.items()}
KINDS = {offered.name: offered.kind for offered in SERVICES}
CANCELLED = m.Failure(409, "cancelled")
KILLED = m.Failure(409, "killed")
VOID = m.Void()
NO_OUTPUT = m.ErrorMessage(571, "the handler's endpoint broke the protocol: it ended without an output")


def snake(value: object) -> str:
    """The name of a class as a name of a method."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(value).__name__).lower()


@dataclass
class Invocation:
    number: int
    service: str
    handler: str
    key: str
    name: tuple[str, ...] | None
    status: str
    journal: list[Any]
    at: int
    due: int = 0
    sinks: list[tuple[int, int]] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    awaited: tuple[m.Future, int] | None = None
    result: Any = None
    expires: int = 0
    journal_until: int = 0

    @property
    def kind(self) -> r.Kind:
        return HANDLERS[self.service, self.handler].kind

    @property
    def where(self) -> tuple[str, str]:
        return (self.service, self.key)

    def completion(self, id: int) -> Any:
        for entry in self.journal:
            if isinstance(entry, m.Notification) and getattr(entry, "completion_id", None) == id:
                return entry
        return None

    def sleeps(self) -> list[tuple[int, int]]:
        return [
            (entry.wake_up_time, entry.result_completion_id)
            for entry in self.journal
            if isinstance(entry, m.SleepCommand) and self.completion(entry.result_completion_id) is None
        ]

    def over(self, point: m.Future, seen: int) -> str:
        """How a wait stands: open, done or failed."""
        states = []
        for id in point.waiting_completions:
            entry = self.completion(id)
            states.append("open" if entry is None else "failed" if isinstance(entry.result, m.Failure) else "done")
        for signal in (*point.waiting_signals, *point.waiting_named_signals):
            came = [x for x in self.journal[seen:] if isinstance(x, m.SignalNotification) and x.signal == signal]
            states.append("open" if not came else "failed" if isinstance(came[-1].result, m.Failure) else "done")
        states += [self.over(nested, seen) for nested in point.nested_futures]
        if point.combinator_type is C.ALL_COMPLETED:
            return "open" if "open" in states else "done"
        if point.combinator_type is C.FIRST_SUCCEEDED_OR_ALL_FAILED:
            return "done" if "done" in states else "open" if "open" in states else "failed"
        if point.combinator_type is C.ALL_SUCCEEDED_OR_FIRST_FAILED:
            return "failed" if "failed" in states else "open" if "open" in states else "done"
        return "done" if "done" in states else "failed" if "failed" in states else "open"


@dataclass
class Disk:
    count: int = 0
    all: dict[int, Invocation] = field(default_factory=dict)
    ids: dict[bytes, int] = field(default_factory=dict)
    lines: dict[tuple[str, str], list[Any]] = field(
        default_factory=dict
    )  # the holder of a key, and the queue behind it
    state: dict[tuple[str, str], dict[bytes, bytes]] = field(default_factory=dict)
    promises: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    hopes: list[tuple[tuple[str, str, str], int, int]] = field(default_factory=list)  # who waits for a promise
    doomed: list[int] = field(default_factory=list)  # killed, with children that are not


class Model:
    def __init__(self) -> None:
        self.disk = Disk()
        self.now = 0
        self.forget_process()

    def forget_process(self) -> None:
        self.attempts = 0
        self.running: dict[int, int] = {}
        self.backing_off: dict[int, int] = {}
        self.ready: set[int] = set()
        self.tries: dict[int, int] = {}
        self.unjoined: dict[int, int] = {}
        self.leaving: dict[int, tuple[str, str]] = {}
        self.waiters: dict[int, list[int]] = {}
        self.out: list[tuple[Any, ...]] = []

    def take(self, event: e.Event, now: int) -> list[tuple[Any, ...]]:
        """What the event leads to outside."""
        self.now = now
        self.out = []
        getattr(self, f"on_{snake(event)}")(event)
        return self.out

    # --- requests --------------------------------------------------------------------------------------------------

    def on_submit(self, event: e.Submit) -> None:
        name = self.name(event.service, event.handler, event.key, event.idempotency_key)
        known = self.named(name)
        if known is not None and event.mode is e.Mode.SEND:
            self.reply(event.waiter, "Accepted", True)
        elif known is not None and known.kind is r.Kind.WORKFLOW:
            self.reply(event.waiter, "Refused", 409)
        elif known is not None:
            self.result_or_wait(known, event.waiter)
        else:
            request = m.InputCommand(event.headers, m.Value(event.body))
            made = self.create((event.service, event.handler, event.key), name, event.start_at, request)
            if event.mode is e.Mode.SEND:
                self.reply(event.waiter, "Accepted", False)
            else:
                self.waiters.setdefault(made.number, []).append(event.waiter)

    def name(self, service: str, handler: str, key: str, idempotency_key: str | None) -> tuple[str, ...] | None:
        if HANDLERS[service, handler].kind is r.Kind.WORKFLOW:
            return ("wf", service, key)
        return None if idempotency_key is None else ("ik", service, key, handler, idempotency_key)

    def named(self, name: tuple[str, ...] | None) -> Invocation | None:
        found = [each for each in self.disk.all.values() if name is not None and each.name == name]
        return found[0] if found and self.is_there(found[0]) else None

    def is_there(self, one: Invocation) -> bool:
        return one.status != "completed" or one.expires > self.now or one.number in self.disk.doomed

    def by_id(self, id: bytes) -> Invocation | None:
        one = self.disk.all.get(self.disk.ids.get(id, 0))
        return one if one is not None and self.is_there(one) else None

    def create(self, where: tuple[str, str, str], name: Any, due: int, request: Any) -> Invocation:
        for old in [each for each in self.disk.all.values() if name is not None and each.name == name]:
            self.forget(old)
        self.disk.count += 1
        one = Invocation(self.disk.count, *where, name, "invoked", [request], self.now)
        self.disk.all[one.number] = one
        if due > self.now:
            one.status, one.due = "scheduled", due
        else:
            self.enter(one)
        return one

    def enter(self, one: Invocation) -> None:
        one.at = max(self.now, one.at)
        if one.kind is r.Kind.EXCLUSIVE:
            line = self.disk.lines.setdefault(one.where, [])
            line.append(one.number)
            if line[0] != one.number:
                one.status = "queued"
                return
        one.status = "invoked"
        self.start(one, afresh=True)

    def result_or_wait(self, one: Invocation, waiter: int) -> None:
        if one.result is not None:
            self.reply(waiter, "Outcome", one.result)
        else:
            self.waiters.setdefault(one.number, []).append(waiter)

    def reply(self, waiter: int, kind: str, detail: Any = None) -> None:
        if waiter:
            self.out.append(("reply", waiter, kind, detail))

    def on_attach(self, event: e.Attach) -> None:
        one = self.target(event.target)
        if one is None:
            self.reply(event.waiter, "Refused", 404)
        else:
            self.result_or_wait(one, event.waiter)

    def on_get_output(self, event: e.GetOutput) -> None:
        one = self.target(event.target)
        if one is None:
            self.reply(event.waiter, "Refused", 404)
        elif one.result is None:
            self.reply(event.waiter, "NotReady")
        else:
            self.reply(event.waiter, "Outcome", one.result)

    def target(self, target: Any) -> Invocation | None:
        if isinstance(target, m.InvocationId):
            return self.by_id(parse_invocation_id(target.id))
        if isinstance(target, m.WorkflowTarget):
            return self.named(("wf", target.workflow_name, target.workflow_key))
        return self.named(
            ("ik", target.service_name, target.service_key or "", target.handler_name, target.idempotency_key)
        )

    # --- attempts --------------------------------------------------------------------------------------------------

    def start(self, one: Invocation, *, afresh: bool) -> None:
        if afresh:
            self.tries[one.number] = 0
        self.backing_off.pop(one.number, None)
        if one.number in self.unjoined or (one.kind is r.Kind.EXCLUSIVE and one.where in self.leaving.values()):
            self.ready.add(one.number)
            return
        self.ready.discard(one.number)
        self.attempts += 1
        self.running[one.number] = self.attempts
        self.tries[one.number] = self.tries.get(one.number, 0) + 1
        self.out.append(("start", one.number, self.attempts, len(one.journal)))

    def leave(self, one: Invocation, *, stop: bool) -> int:
        self.ready.discard(one.number)
        self.backing_off.pop(one.number, None)
        attempt = self.running.pop(one.number, 0)
        if attempt:
            self.unjoined[one.number] = attempt
            if stop:
                self.out.append(("stop", one.number, attempt))
        return attempt

    def on_attempt_over(self, event: e.AttemptOver) -> None:
        number = event.number
        if self.running.get(number) == event.attempt:
            self.fail(self.disk.all[number], event.error or m.ErrorMessage(500, ""), stop=False)
        if self.unjoined.get(number) != event.attempt:
            return
        del self.unjoined[number]
        where = self.leaving.pop(number, None)
        if where is not None and self.disk.lines.get(where):
            holder = self.disk.lines[where][0]
            if holder in self.ready:
                self.start(self.disk.all[holder], afresh=False)
        if number in self.ready:
            self.start(self.disk.all[number], afresh=False)

    def on_retry_due(self, event: e.RetryDue) -> None:
        if self.backing_off.get(event.number) == event.attempt:
            self.start(self.disk.all[event.number], afresh=False)

    def fail(self, one: Invocation, error: m.ErrorMessage, *, stop: bool) -> None:
        policy = HANDLERS[one.service, one.handler].retry
        tries = self.tries[one.number]
        if error.behavior is m.ErrorBehavior.FAIL:
            self.end(one, m.Failure(error.code, error.message), stop=stop)
        elif error.behavior is m.ErrorBehavior.PAUSE:
            self.pause(one, stop=stop)
        elif tries < (policy.max_attempts or 1000):
            delay = min(policy.initial_interval * 2 ** (tries - 1), policy.max_interval)
            if error.next_retry_delay is not None:
                delay = error.next_retry_delay
            attempt = self.leave(one, stop=stop)
            self.backing_off[one.number] = attempt
            self.out.append(("retry", one.number, attempt, self.now + delay))
        elif policy.on_max_attempts is OnMaxAttempts.KILL:
            self.end(one, m.Failure(error.code, error.message), stop=stop)
        else:
            self.pause(one, stop=stop)

    def pause(self, one: Invocation, *, stop: bool) -> None:
        self.leave(one, stop=stop)
        one.status, one.awaited, one.at = "paused", None, max(self.now, one.at)

    def resume(self, one: Invocation) -> None:
        one.status, one.awaited, one.at = "invoked", None, max(self.now, one.at)
        self.start(one, afresh=True)

    def on_from_attempt(self, event: e.FromAttempt) -> None:
        message = event.message
        if self.running.get(event.number) != event.attempt:
            return
        one = self.disk.all[event.number]
        if isinstance(message, m.Command):
            one.journal.append(message)
            getattr(self, f"do_{snake(message)}", lambda *_: None)(one, message)
        elif isinstance(message, m.ProposeRunCompletionMessage):
            self.notify(one, m.RunCompletion(message.result_completion_id, message.result))
        elif isinstance(message, m.ErrorMessage):
            self.fail(one, message, stop=False)
        elif isinstance(message, m.EndMessage):
            outputs = [entry for entry in one.journal if isinstance(entry, m.OutputCommand)]
            if outputs:
                self.end(one, outputs[0].result, stop=False)
            else:
                self.fail(one, NO_OUTPUT, stop=True)
        elif isinstance(message, m.SuspensionMessage):
            point = message.awaiting_on
            assert point is not None
            self.leave(one, stop=False)
            if one.over(point, event.seen) != "open":
                self.start(one, afresh=True)
            else:
                one.status, one.awaited, one.at = "suspended", (point, event.seen), max(self.now, one.at)

    # --- commands --------------------------------------------------------------------------------------------------

    def do_set_state_command(self, one: Invocation, command: m.SetStateCommand) -> None:
        assert command.value is not None
        self.disk.state.setdefault(one.where, {})[command.key] = command.value.content

    def do_clear_state_command(self, one: Invocation, command: m.ClearStateCommand) -> None:
        self.disk.state.get(one.where, {}).pop(command.key, None)

    def do_clear_all_state_command(self, one: Invocation, _: Any) -> None:
        self.disk.state.pop(one.where, None)

    def do_get_lazy_state_command(self, one: Invocation, command: m.GetLazyStateCommand) -> None:
        value = self.disk.state.get(one.where, {}).get(command.key)
        result = VOID if value is None else m.Value(value)
        self.notify(one, m.GetLazyStateCompletion(command.result_completion_id, result))

    def do_get_lazy_state_keys_command(self, one: Invocation, command: m.GetLazyStateKeysCommand) -> None:
        keys = m.StateKeys(tuple(sorted(self.disk.state.get(one.where, {}))))
        self.notify(one, m.GetLazyStateKeysCompletion(command.result_completion_id, keys))

    def do_get_promise_command(self, one: Invocation, command: m.GetPromiseCommand) -> None:
        name = (*one.where, command.key)
        if name in self.disk.promises:
            self.notify(one, m.GetPromiseCompletion(command.result_completion_id, self.disk.promises[name]))
        else:
            self.disk.hopes.append((name, one.number, command.result_completion_id))

    def do_peek_promise_command(self, one: Invocation, command: m.PeekPromiseCommand) -> None:
        found = self.disk.promises.get((*one.where, command.key), VOID)
        self.notify(one, m.PeekPromiseCompletion(command.result_completion_id, found))

    def do_complete_promise_command(self, one: Invocation, command: m.CompletePromiseCommand) -> None:
        name, id = (*one.where, command.key), command.result_completion_id
        if name in self.disk.promises:
            self.notify(one, m.CompletePromiseCompletion(id, m.Failure(409, "the promise was completed before")))
            return
        self.disk.promises[name] = command.completion
        self.notify(one, m.CompletePromiseCompletion(id, VOID))
        for _, number, hope in sorted(each for each in self.disk.hopes if each[0] == name):
            self.complete(number, hope, m.GetPromiseCompletion(hope, command.completion))
        self.disk.hopes = [each for each in self.disk.hopes if each[0] != name]

    def child(self, one: Invocation, command: Any, due: int) -> tuple[Invocation, bool]:
        service, handler, key = command.service_name, command.handler_name, command.key
        name = self.name(service, handler, key, command.idempotency_key)
        found = self.named(name)
        child = found or self.create((service, handler, key), name, due, m.InputCommand((), m.Value(command.parameter)))
        one.children.append(child.number)
        self.notify(one, m.CallInvocationIdCompletion(command.invocation_id_notification_idx, m.InvocationId("?")))
        return child, found is None

    def do_call_command(self, one: Invocation, command: m.CallCommand) -> None:
        child, new = self.child(one, command, 0)
        id = command.result_completion_id
        if not new and child.kind is r.Kind.WORKFLOW:
            self.notify(one, m.CallCompletion(id, m.Failure(409, "the workflow method was already invoked")))
        elif child.result is not None:
            self.notify(one, m.CallCompletion(id, child.result))
        else:
            child.sinks.append((one.number, id))

    def do_one_way_call_command(self, one: Invocation, command: m.OneWayCallCommand) -> None:
        self.child(one, command, command.invoke_time)

    def do_attach_invocation_command(self, one: Invocation, command: m.AttachInvocationCommand) -> None:
        other, id = self.target(command.target), command.result_completion_id
        if other is None:
            self.notify(one, m.AttachInvocationCompletion(id, m.Failure(404, "?")))
        elif other.result is not None:
            self.notify(one, m.AttachInvocationCompletion(id, other.result))
        else:
            other.sinks.append((one.number, id))

    def do_get_invocation_output_command(self, one: Invocation, command: m.GetInvocationOutputCommand) -> None:
        other = self.target(command.target)
        result = m.Failure(404, "?") if other is None else other.result or VOID
        self.notify(one, m.GetInvocationOutputCompletion(command.result_completion_id, result))

    def do_send_signal_command(self, _: Invocation, command: m.SendSignalCommand) -> None:
        other = self.by_id(parse_invocation_id(command.target_invocation_id))
        if other is not None and command.signal == m.CANCEL_SIGNAL:
            self.cancel(other)
        elif other is not None:
            self.notify(other, m.SignalNotification(command.signal, command.result))

    def do_complete_awakeable_command(self, _: Invocation, command: m.CompleteAwakeableCommand) -> None:
        id = parse_awakeable_id(command.awakeable_id)
        other = self.by_id(id.invocation_id)
        if other is not None:
            self.notify(other, m.SignalNotification(id.index, command.result))

    # --- notifications ---------------------------------------------------------------------------------------------

    def notify(self, one: Invocation, entry: Any, *, wakes: bool = False) -> None:
        if one.status == "completed":
            return
        one.journal.append(entry)
        if one.number in self.running:
            self.out.append(("deliver", one.number, len(one.journal) - 1))
        if one.status == "suspended":
            assert one.awaited is not None
            if wakes or one.over(*one.awaited) != "open":
                self.resume(one)

    def complete(self, number: int, id: int, entry: Any) -> None:
        one = self.disk.all.get(number)
        if one is not None and one.completion(id) is None:
            self.notify(one, entry)

    def on_timers_due(self, _: e.TimersDue) -> None:
        for due, number, what in sorted(self.timers()):
            one = self.disk.all.get(number)
            if due > self.now or one is None:
                continue
            if what > 0:
                self.complete(number, what, m.SleepCompletion(what, VOID))
            elif what == r.START:
                if one.status == "scheduled":
                    self.enter(one)
            elif number in self.disk.doomed:
                continue
            elif what == r.FORGET:
                self.forget(one)
            else:
                one.journal = []

    def timers(self) -> list[tuple[int, int, int]]:
        found = []
        for one in self.disk.all.values():
            if one.status == "completed":
                found.append((one.expires, one.number, r.FORGET))
                if one.journal and one.journal_until < one.expires:
                    found.append((one.journal_until, one.number, r.FORGET_JOURNAL))
            else:
                found += [(due, one.number, id) for due, id in one.sleeps()]
                found += [(one.due, one.number, r.START)] if one.status == "scheduled" else []
        return found

    # --- endings ---------------------------------------------------------------------------------------------------

    def end(self, one: Invocation, result: Any, *, stop: bool, keep: bool = True, doom: bool = False) -> None:
        self.leave(one, stop=stop)
        was, one.status, one.awaited = one.status, "completed", None
        one.result, one.at = result, max(self.now, one.at)
        options = HANDLERS[one.service, one.handler]
        journal = options.journal_retention
        kept = journal
        if one.name is not None:
            kept = options.workflow_retention if one.name[0] == "wf" else options.idempotency_retention
        one.expires = one.at + (kept if keep else 0)
        one.journal_until = one.at + min(kept, journal) if keep else one.at
        if doom and one.children:
            self.disk.doomed.append(one.number)
        for caller, id in sorted(one.sinks):
            call = self.disk.all.get(caller)
            if call is not None:
                asked = [entry for entry in call.journal if getattr(entry, "result_completion_id", 0) == id]
                attached = bool(asked) and isinstance(asked[0], m.AttachInvocationCommand)
                self.complete(caller, id, (m.AttachInvocationCompletion if attached else m.CallCompletion)(id, result))
        one.sinks = []
        for waiter in self.waiters.pop(one.number, []):
            self.reply(waiter, "Outcome", result)
        if one.kind is r.Kind.EXCLUSIVE and was != "scheduled":
            line = self.disk.lines[one.where]
            line.remove(one.number)
            if was != "queued":
                if one.number in self.unjoined:
                    self.leaving[one.number] = one.where
                self.advance(one.where)
        if one.number not in self.disk.doomed:
            if one.expires <= one.at:
                self.forget(one)
            elif one.journal_until <= one.at:
                one.journal = []

    def advance(self, where: tuple[str, str]) -> None:
        line = self.disk.lines[where]
        while line and isinstance(line[0], r.StateEdit):
            self.edit(where, line.pop(0))
        if line:
            one = self.disk.all[line[0]]
            one.status, one.at = "invoked", max(self.now, one.at)
            self.start(one, afresh=True)
        else:
            del self.disk.lines[where]

    def edit(self, where: tuple[str, str], edit: r.StateEdit) -> None:
        state = {} if edit.replace else self.disk.state.get(where, {})
        self.disk.state[where] = {k: v for k, v in (state | edit.values).items() if v is not None}

    def forget(self, one: Invocation) -> None:
        del self.disk.all[one.number]
        if one.kind is r.Kind.WORKFLOW:
            self.disk.state.pop(one.where, None)
            self.disk.promises = {k: v for k, v in self.disk.promises.items() if k[:2] != one.where}
            self.disk.hopes = [hope for hope in self.disk.hopes if hope[0][:2] != one.where]

    def cancel(self, one: Invocation) -> bool:
        if one.status == "completed":
            return False
        if one.status in {"scheduled", "queued"}:
            self.end(one, CANCELLED, stop=False, keep=False)
            return True
        heard = any(isinstance(entry, m.SignalNotification) and entry.signal == 1 for entry in one.journal)
        self.notify(one, m.SignalNotification(m.CANCEL_SIGNAL, VOID), wakes=not heard)
        if one.status == "paused":
            self.resume(one)
        return True

    def kill(self, one: Invocation) -> bool:
        if one.status == "completed":
            return False
        self.end(one, KILLED, stop=True, keep=one.status not in {"scheduled", "queued"}, doom=True)
        return True

    def on_work_due(self, _: e.WorkDue) -> None:
        if not self.disk.doomed:
            return
        one = self.disk.all[self.disk.doomed[0]]
        for number in one.children:
            child = self.disk.all.get(number)
            if child is not None:
                self.kill(child)
        self.disk.doomed.pop(0)
        if one.expires <= self.now:
            self.forget(one)
        elif one.journal_until <= self.now:
            one.journal = []

    # --- what operators do -----------------------------------------------------------------------------------------

    def operate(self, event: Any, act: Any) -> None:
        one = self.by_id(event.target)
        if one is None:
            self.reply(event.waiter, "Refused", 404)
        elif act(one):
            self.reply(event.waiter, "Done")
        else:
            self.reply(event.waiter, "Refused", 409)

    def on_cancel(self, event: e.Cancel) -> None:
        self.operate(event, self.cancel)

    def on_kill(self, event: e.Kill) -> None:
        self.operate(event, self.kill)

    def on_send_signal(self, event: e.SendSignal) -> None:
        def act(one: Invocation) -> bool:
            self.notify(one, m.SignalNotification(event.signal, event.result))
            return True

        self.operate(event, act)

    def on_pause(self, event: e.Pause) -> None:
        def act(one: Invocation) -> bool:
            if one.status in {"invoked", "suspended"}:
                self.pause(one, stop=True)
            return one.status == "paused"

        self.operate(event, act)

    def on_resume(self, event: e.Resume) -> None:
        def act(one: Invocation) -> bool:
            if one.status in {"paused", "suspended"}:
                self.resume(one)
            elif one.number in self.backing_off:
                self.start(one, afresh=True)
            else:
                return False
            return True

        self.operate(event, act)

    def on_purge(self, event: e.Purge) -> None:
        def act(one: Invocation) -> bool:
            over = self.is_over(one)
            if over:
                self.forget(one)
            return over

        self.operate(event, act)

    def on_purge_journal(self, event: e.PurgeJournal) -> None:
        def act(one: Invocation) -> bool:
            over = self.is_over(one)
            if over:
                one.journal = []
            return over

        self.operate(event, act)

    def is_over(self, one: Invocation) -> bool:
        return one.status == "completed" and one.number not in self.disk.doomed

    def on_restart_as_new(self, event: e.RestartAsNew) -> None:
        one = self.by_id(event.target)
        if one is None:
            self.reply(event.waiter, "Refused", 404)
        elif one.status != "completed" or one.kind is r.Kind.WORKFLOW or not one.journal:
            self.reply(event.waiter, "Refused", 409)
        else:
            self.create((one.service, one.handler, one.key), None, 0, one.journal[0])
            self.reply(event.waiter, "Accepted", False)

    def on_edit_state(self, event: e.EditState) -> None:
        where = (event.service, event.key)
        if self.disk.lines.get(where):
            self.disk.lines[where].append(event.edit)
        else:
            self.edit(where, event.edit)
        self.reply(event.waiter, "Done")

    def on_opened(self, _: e.Opened) -> None:
        for number in sorted(self.disk.all):
            if self.disk.all[number].status == "invoked":
                self.start(self.disk.all[number], afresh=True)


def told(outputs: list[o.Output]) -> list[tuple[Any, ...]]:
    """The outputs of a decision in the words of the model."""
    found: list[tuple[Any, ...]] = []
    for output in outputs:
        match output:
            case o.StartAttempt(number, attempt, _, _, length):
                found.append(("start", number, attempt, length))
            case o.Deliver(number, _, index):
                found.append(("deliver", number, index))
            case o.StopAttempt(number, attempt):
                found.append(("stop", number, attempt))
            case o.ArmRetry(number, attempt, due):
                found.append(("retry", number, attempt, due))
            case o.Reply(waiter, answer):
                found.append(("reply", waiter, type(answer).__name__, _detail(answer)))
    return found


def _detail(answer: o.Answer) -> Any:
    match answer:
        case o.Outcome():
            return answer.result
        case o.Refused():
            return answer.code
        case o.Accepted():
            return answer.previously
    return None
