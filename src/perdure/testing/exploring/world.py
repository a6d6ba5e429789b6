"""The world that a handler is explored in: the runtime, the network, and the time that steps take.

It is the runtime in memory, except that it answers when the schedule says, that it can break the connection at any
entry, and that it watches what the handler sends. It lives through all attempts of one invocation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heappop
from random import Random
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from perdure.durable.transport import Disconnected
from perdure.machine.awaiting import flat_suspension
from perdure.machine.journal import describe
from perdure.testing.exploring.schedule import Schedule
from perdure.testing.runtime import AttemptOver, InMemoryRuntime
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    CallCompletion,
    CallInvocationIdCompletion,
    ClearAllStateCommand,
    ClearStateCommand,
    Command,
    Message,
    Notification,
    OutputCommand,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SignalNotification,
    SleepCompletion,
    SuspensionMessage,
    Void,
)

__all__ = ["Fault", "World", "named"]

_VOID: Final = Void()

QUIET: Final = 3600.0
"""Virtual seconds: time passes only when nothing can run, so whoever sleeps this long wakes when all others wait for
something else than time."""

Release = Callable[[], None]


class Fault(Exception):  # noqa: N818 - what exploring finds; `ExplorationError` tells it
    """The handler, or perdure, does what it must not.

    Attributes:
        kind: what sort of fault, in a few words; shrinking keeps it.
        where: in which replay, if it was one.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.where: str = ""


class World(InMemoryRuntime):
    """The runtime's side of one invocation, over all its attempts.

    Args:
        schedule: what happens.
        journal: what is stored already; the input is made of `given` otherwise.
        given: as for `InMemoryRuntime`; signals and awakeables come when the schedule lets them.

    Attributes:
        sent: what the handler sent in this attempt.
        picks: between how many alternatives each pick chose.
        idles: how often the handler was idle with its input open.
        proposals: how many results of steps were sent.
        done: what happened, by name: crashes, suspensions, cancels, ...
        faults: what went wrong, as it was noticed.
        executed: how many steps were really executed in this attempt.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        journal: Sequence[Message] | None = None,
        signals: Sequence[SignalNotification] = (),
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self.schedule = schedule
        self.sent: list[Message] = []
        self.picks: list[int] = []
        self.idles: int = 0
        self.proposals: int = 0
        self.done: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.executed: int = 0
        self.host: anyio.CancelScope | None = None
        self.host_cancelled: bool = False
        self.noise: Random | None = None
        self._attempt = -1
        self._open: list[Notification] = []
        self._id_first: dict[int, int] = {}
        self._signals: list[SignalNotification] = list(signals)
        self._told = 0
        self._started: set[int] = set()
        self._completed: set[int] = set()
        self._slow: dict[anyio.Event, str] = {}
        self._poked: anyio.Event | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self.helpers: int = 0
        self._coming = 0
        self._idle_meanwhile = False
        if journal is not None:
            self.journal.clear()
            for entry in journal:
                self.journal.append(entry)
                self._account(entry)
        self._seen = len(self.journal)

    def _account(self, entry: Message) -> None:
        """Know what a stored entry says."""
        if isinstance(entry, RunCompletion):
            self._completed.add(entry.completion_id)
        elif isinstance(entry, RunCommand):
            self._started.add(entry.result_completion_id)
        elif isinstance(entry, SetStateCommand | ClearStateCommand | ClearAllStateCommand | OutputCommand):
            self._HANDLERS[type(entry)](self, entry)

    # --- attempts --------------------------------------------------------------------------------------------------

    @property
    def is_cut(self) -> bool:
        """Whether the connection of this attempt was broken."""
        return self._cut

    def begin_attempt(self, number: int, *, retry_count: int) -> None:
        """Start the next attempt."""
        seed = self.schedule.get("noise", number)
        # A seed for all attempts still gives each of them noise of its own.
        self.noise = Random(f"{seed} {number}") if seed else None  # noqa: S311 - to be repeatable
        self._attempt = number
        self.host_cancelled = False
        self.sent = []
        self.executed = 0
        self._slow = {}
        self._idle_meanwhile = False
        self._told = 0
        closed = self.schedule.get("closed", number) is not None
        if closed:
            self._told = len(self.journal)
        self.begin(close_after_journal=closed, retry_count=retry_count)

    def close_input(self) -> None:
        """Send nothing more."""
        if not self._close_after_journal:
            self._told = len(self.journal)
        super().close_input()

    def _chance(self, of: float) -> bool:
        return self.noise is not None and self.noise.random() < of

    async def ticks(self, most: int) -> None:
        """Let the loop go round some times, when there is noise."""
        if self.noise is not None:
            for _ in range(self.noise.randrange(most + 1)):
                await anyio.lowlevel.checkpoint()

    def help_in(self, tasks: anyio.abc.TaskGroup) -> None:
        """Be there for one attempt, in tasks of its own, until `tasks` is cancelled."""
        self._tasks = tasks
        self._poked = None
        if self._alternatives():
            self._poke()

    async def _do_help(self, attempt: int) -> None:
        """When nothing can run, let something happen: the handler may wait for it in the middle of a step."""
        while True:
            assert self._poked is not None
            await self._poked.wait()
            self._poked = anyio.Event()
            while attempt == self._attempt and self._alternatives():
                await anyio.sleep(QUIET)  # then nothing else can run
                if not self._cut and self.over is None:
                    self._pick()

    def _poke(self) -> None:
        if self._poked is not None:
            self._poked.set()
        elif self._tasks is not None and self.over is None and (self._slow or not self._close_after_journal):
            self._poked = anyio.Event()
            self._poked.set()
            self._tasks.start_soon(self._do_help, self._attempt)
            self.helpers += 1

    def _later(self, ticks: int, act: Release) -> None:
        """Do something after some rounds of the loop, in this attempt; or now, between two."""
        if not ticks or self._tasks is None or self.over is not None:
            act()
        else:
            self._tasks.start_soon(self._do_later, self._attempt, ticks, act)
            self.helpers += 1
            self._coming += 1

    async def _do_later(self, attempt: int, ticks: int, act: Release) -> None:
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        if attempt == self._attempt and self.over is None and not self._cut:
            act()
        self.helpers -= 1
        self._coming -= 1
        if self._idle_meanwhile and attempt == self._attempt:
            self.idle()

    def end_attempt(self) -> None:
        """The attempt is over, and whoever helped with it."""
        self._tasks = None
        self._poked = None
        self.helpers = self._coming = 0

    # --- the transport ---------------------------------------------------------------------------------------------

    async def receive(self) -> list[Message] | None:
        """What the handler is to receive next: all of it, or some."""
        batch = await super().receive()
        if batch is not None and len(batch) > 1 and self._chance(0.5):
            assert self.noise is not None
            count = self.noise.randint(1, len(batch))
            self._pending.extendleft(reversed(batch[count:]))
            batch = batch[:count]
        return batch

    async def send(self, messages: Sequence[Message]) -> None:
        """Take what the handler sent, one message after another, until the connection breaks."""
        if not messages:
            self._fault("an empty piece was sent", "")
        await self.ticks(2)
        self.take(messages)
        while self._chance(0.4) and self._answers():
            assert self.noise is not None
            self._later(self.noise.randrange(4), self._answer_early)

    def take(self, messages: Sequence[Message]) -> None:
        """Store commands, and see what comes of them."""
        self._idle_meanwhile = False
        for message in messages:
            if self._cut:
                raise Disconnected
            if self.over is not None:
                self._fault("written after the end", f"{named(message)} follows the end of the attempt")
            self.sent.append(message)
            if isinstance(message, ProposeRunCompletionMessage):
                self._proposed(message)
            super().take([message])
            self._grew()
        self._poke()
        if self._cut:
            raise Disconnected

    def _proposed(self, message: ProposeRunCompletionMessage) -> None:
        number, self.proposals = self.proposals, self.proposals + 1
        id = message.result_completion_id
        if id in self._completed:
            self._fault("a step has two results", f"completion {id} is proposed, and it is stored already")
        elif id not in self._started:
            self._fault("a result without its step", f"completion {id} is proposed before its command")
        if self.schedule.get("lose", number) is not None:
            self._break_off("a result was lost")
            raise Disconnected

    # --- what the journal's growth brings ----------------------------------------------------------------------

    def notify(self, notification: Notification) -> None:
        """Something was answered; the handler hears of it when the schedule says."""
        if isinstance(notification, CallInvocationIdCompletion | CallCompletion) and self._open:
            last = self._open[-1]
            if isinstance(notification, CallCompletion) and isinstance(last, CallInvocationIdCompletion):
                self._id_first[notification.completion_id] = last.completion_id
        self._open.append(notification)

    def _store(self, entry: Command | Notification) -> None:
        super()._store(entry)
        if not hasattr(self, "schedule"):
            return  # the input, while this is being made
        self.log.append(f"  {len(self.journal) - 1:3} {named(entry)}")
        if isinstance(entry, RunCompletion):
            self._completed.add(entry.completion_id)
        elif isinstance(entry, RunCommand):
            self._started.add(entry.result_completion_id)

    def _grew(self) -> None:
        """What was stored was sent, too: let happen what happens at this length of the journal."""
        while self._seen < len(self.journal):
            self._seen += 1
            self._reached(self._seen)

    def _reached(self, length: int) -> None:
        schedule = self.schedule
        crash, stop = schedule.get("crash", length), schedule.get("stop", length)
        if crash is not None:
            self._later(crash, lambda: self._break_off("the connection breaks"))
        if stop is not None and self.over is None:
            self._later(stop, self._stop)
        for _ in range(schedule.get("cancel", length) or 0):
            self.done["cancels"] += 1
            cancel = SignalNotification(CANCEL_SIGNAL, _VOID)
            self._store(cancel)
            self._send(cancel)

    def _break_off(self, why: str) -> None:
        if self.over is None and not self._cut:
            self.done["crashes"] += 1
            self.log.append(f"      {why}")
            self.cut()

    def _stop(self) -> None:
        if self.host is not None and not self._cut:
            self.done["stops"] += 1
            self.log.append("      the host cancels the attempt")
            self.host_cancelled = True
            self.host.cancel()
            self._cut = True  # nothing it sends from here on arrives

    # --- what may happen next --------------------------------------------------------------------------------------

    def _answers(self) -> list[tuple[str, Release]]:
        """What a runtime may store next, in the order of its making: answers, signals, the timer that is due next."""
        waiting = {each.completion_id for each in self._open if isinstance(each, CallInvocationIdCompletion)}
        found: list[tuple[str, Release]] = []
        for each in self._open:
            id: int = getattr(each, "completion_id", 0)
            if self._id_first.get(id) not in waiting:
                found.append((named(each), lambda each=each: self._let_answer(each)))  # type: ignore[misc]  # a default
        names: set[int | str | None] = set()
        for signal in self._signals:
            if signal.signal not in names:
                names.add(signal.signal)
                found.append((named(signal), lambda signal=signal: self._let_signal(signal)))  # type: ignore[misc]  # as above
        if self._timers:
            due = self._timers[0][0]
            found += [
                ("timer", lambda timer=timer: self._fire(timer))  # type: ignore[misc]  # as above
                for timer in sorted(timer for timer in self._timers if timer[0] == due)
            ]
        return found

    def _let_answer(self, notification: Notification) -> None:
        if notification in self._open:
            self._open.remove(notification)
            self._release(notification)

    def _let_signal(self, notification: SignalNotification) -> None:
        if notification in self._signals:
            self._signals.remove(notification)
            self._release(notification)

    def _fire(self, timer: tuple[int, int]) -> None:
        if timer not in self._timers:
            return
        if self._timers[0] == timer:
            heappop(self._timers)
        else:
            self._timers.remove(timer)
            self._timers.sort()
        self.advance(timer[0] / 1000)
        self._release(SleepCompletion(timer[1], _VOID))

    def _release(self, notification: Notification) -> None:
        self._store(notification)
        self._send(notification)
        self._grew()

    def _answer_early(self) -> None:
        answers = self._answers()
        if answers and self.noise is not None:
            self.noise.choice(answers)[1]()

    def _alternatives(self) -> list[tuple[str, Release]]:
        slow: list[tuple[str, Release]] = []
        for event, name in self._slow.items():
            slow.append((f"{name} ends", lambda event=event: self._let_end(event)))  # type: ignore[misc]  # as above
        return slow if self._close_after_journal and self.over is None else [*slow, *self._answers()]

    def _pick(self) -> bool:
        """Let one thing happen; tells whether there was one."""
        alternatives = self._alternatives()
        if not alternatives:
            return False
        number = len(self.picks)
        self.picks.append(len(alternatives))
        chosen = self.schedule.get("order", number)
        if chosen is None:
            chosen = self.noise.randrange(len(alternatives)) if self._chance(0.5) and self.noise is not None else 0
        _, release = alternatives[min(chosen, len(alternatives) - 1)]
        release()
        return True

    def _let_end(self, event: anyio.Event) -> None:
        del self._slow[event]
        event.set()

    def idle(self) -> None:
        """Nothing runs in the handler: something happens, or its input ends."""
        if self._pending or self.over is not None or self._close_after_journal or self._cut:
            return
        self._idle_meanwhile = bool(self._coming)
        if self._coming:
            return
        number, self.idles = self.idles, self.idles + 1
        if self.schedule.get("suspend", number) is not None or not self._alternatives():
            self.close_input()
            return
        delay = self.noise.randrange(4) if self.noise is not None else 0
        if delay:
            self._later(delay, self._burst)
        else:
            self._burst()

    def _burst(self) -> None:
        self._pick()
        while self._chance(0.3) and self._pick():
            pass

    def resume(self) -> bool:
        """Between two attempts: let things happen until the suspended handler can go on; tells whether it can."""
        self.end_attempt()
        if self.over is not AttemptOver.SUSPENDED:
            while self._chance(0.3) and self._pick():
                pass
            return True
        self._check_suspension()
        while not self._awaited(self._told, len(self.journal)):
            if not self._pick():
                return False
        return True

    def _check_suspension(self) -> None:
        known = self._awaited(0, self._told)
        if known is not None:
            self._fault(
                "a suspension on what is known",
                f"the handler waits for {named(known)}, which it was told: the runtime resumes it at once, for ever",
            )
        waits = self.waits()
        if not (waits.waiting_completions or waits.waiting_named_signals or set(waits.waiting_signals) - {1}):
            self._fault("a suspension on nothing", "only a cancel could end it")

    def waits(self) -> SuspensionMessage:
        """What the suspended handler waits for."""
        message = self.suspensions[-1]
        return message if message.awaiting_on is None else flat_suspension(message.awaiting_on)

    def _awaited(self, begin: int, end: int) -> Message | None:
        """The first notification in a part of the journal that the suspended handler waits for."""
        waits = self.waits()
        signals: set[Any] = {*waits.waiting_signals, *waits.waiting_named_signals}
        completions = set(waits.waiting_completions)
        for entry in self.journal[begin:end]:
            if isinstance(entry, SignalNotification):
                if entry.signal in signals:
                    return entry
            elif isinstance(entry, Notification) and getattr(entry, "completion_id", None) in completions:
                return entry
        return None

    def awaited(self) -> str:
        """What the suspended handler waits for, in words."""
        waits = self.waits()
        ids = set(waits.waiting_completions)
        told = [named(entry) for entry in self.journal if isinstance(entry, Command) and ids & _ids_of(entry)]
        told += [f"awakeable number {index - 16}" for index in waits.waiting_signals if index > CANCEL_SIGNAL]
        told += [f"signal {name!r}" for name in waits.waiting_named_signals]
        return ", ".join(told) or "nothing that can happen"

    # --- steps -----------------------------------------------------------------------------------------------------

    def step_begins(self, id: int, name: str) -> None:
        """A step is really executed."""
        self.executed += 1
        if id in self._completed:
            self._fault("a step runs again", f"{name!r} is executed although its result is stored (completion {id})")

    async def step_ends(self, name: str, *, limited: bool) -> None:
        """A step has its result: it may still take a while, unless there is a limit to that."""
        await self.ticks(3)
        slow = self.schedule.get("slow", self._attempt) is not None or self._chance(0.2)
        if limited or not slow:
            return
        event = anyio.Event()
        self._slow[event] = name
        self._poke()
        try:
            await event.wait()
        finally:
            self._slow.pop(event, None)

    def _fault(self, kind: str, detail: str) -> None:
        fault = Fault(kind, detail)
        self.faults.append(fault)
        self.log.append(f"      !! {fault}")


def _ids_of(command: Command) -> set[int | None]:
    return {
        getattr(command, "result_completion_id", None),
        getattr(command, "invocation_id_notification_idx", None),
    }


def named(entry: Message) -> str:
    """An entry in a few words."""
    if isinstance(entry, Command):
        return describe(entry)
    if isinstance(entry, SignalNotification):
        return "cancel signal" if entry.signal == CANCEL_SIGNAL else f"signal {entry.signal!r}"
    id = getattr(entry, "completion_id", None)
    kind = type(entry).__name__.removesuffix("Message")
    return f"{kind} {id}" if id is not None else kind
