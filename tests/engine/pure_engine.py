"""The pure half run by hand: events in, outputs out when their batch is committed, crashes at any batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.invariants import broken
from perdure.engine.lifecycle import decide
from perdure.engine.residency import Residents
from perdure.engine.view import Decision
from perdure.wire import messages as m
from perdure.wire.manifest import OnMaxAttempts
from tests.engine.tables import Reads, Tables

MINUTE = 60_000
HOUR = 60 * MINUTE
DONE = m.Value(b"done")
START_OF_TIME = 1_700_000_000_000

RETRY = r.Retry(100, 2.0, 1000, 3, OnMaxAttempts.PAUSE)
KILLING = r.Retry(100, 2.0, 1000, 2, OnMaxAttempts.KILL)


def options(kind: r.Kind, **changes: object) -> r.HandlerOptions:
    defaults: dict[str, object] = {
        "retry": RETRY,
        "idempotency_retention": HOUR,
        "journal_retention": MINUTE,
        "workflow_retention": HOUR,
    }
    return r.HandlerOptions(kind, **(defaults | changes))  # type: ignore[arg-type]  # options by name


SERVICES = (
    e.Offered(
        "Plain",
        r.Kind.SERVICE,
        {
            "do": options(r.Kind.SERVICE),
            "brief": options(r.Kind.SERVICE, journal_retention=0, idempotency_retention=0),
            "dies": options(r.Kind.SERVICE, retry=KILLING),
            "hidden": options(r.Kind.SERVICE, private=True),
        },
    ),
    e.Offered(
        "Thing",
        r.Kind.EXCLUSIVE,
        {"do": options(r.Kind.EXCLUSIVE), "look": options(r.Kind.SHARED)},
    ),
    e.Offered("Flow", r.Kind.WORKFLOW, {"run": options(r.Kind.WORKFLOW), "look": options(r.Kind.SHARED)}),
)


def deployment(number: int = 0, *, id: str = "dp_1", protocol: int = 7) -> r.PutDeployment:
    return r.PutDeployment(
        deployment=number,
        id=id,
        uri=None,
        min_protocol=5,
        max_protocol=protocol,
        manifest=b"{}",
        created_at=START_OF_TIME,
    )


def unique(number: int) -> bytes:
    return number.to_bytes(16, "big")


class PureEngine:
    """Decisions, batches and their outputs.

    Attributes:
        now: milliseconds.
        open: rows decided that are in no committed batch.
        released: outputs of committed batches, in order.
        replies: answers among them, by waiter.
        running: attempts that were started and are not over, by number, with the entries they have been sent.
        arrived: what each attempt was told, in order, by attempt.
    """

    def __init__(self, *, deploy: bool = True, checked: bool = True) -> None:
        self.tables = Tables()
        self.now = START_OF_TIME
        self.checked = checked
        self.uniques = 0
        self.waiters = 0
        self._begin()
        if deploy:
            self.do(e.RegisterDeployment(deployment(), SERVICES, 0))
            self.commit()

    def _begin(self) -> None:
        self.reader = Reads(self.tables)
        self.residents = Residents(self.reader, room=1)
        self.batch = 1
        self.batches: list[tuple[list[r.Row], list[o.Output]]] = [([], [])]
        self.released: list[o.Output] = []
        self.replies: dict[int, o.Answer] = {}
        self.attempts: dict[int, int] = {}
        self.stopping: set[tuple[int, int]] = set()
        self.arrived: dict[int, list[m.Message]] = {}

    # --- events ----------------------------------------------------------------------------------------------------

    def do(self, event: e.Event) -> Decision:
        """Decide and apply; the outputs wait for `commit`."""
        before = self._picture() if self.checked else None
        decision = decide(self.residents, event, self.now)
        if self.checked:
            after = self._picture()
            assert before is not None
            assert before == {name: after[name] for name in before}, "deciding changed something"
        self.residents.apply(decision, self.batch, self.now)
        rows, outputs = self.batches[-1]
        rows.extend(decision.rows)
        outputs.extend(decision.outputs)
        return decision

    def _picture(self) -> dict[object, object]:
        """What is in memory; loading adds to it."""
        residents = self.residents
        picture: dict[object, object] = {entity.number: entity for entity in residents.resident()}
        picture |= {(key.service, key.key): key for key in residents.resident_keys()}
        picture |= {("live", live.number): live for live in residents.lives()}
        return copy.deepcopy(picture)

    def close_batch(self) -> None:
        """Hand the open batch over; the next decisions go into another."""
        self.batches.append(([], []))
        self.batch += 1

    def commit(self, count: int | None = None) -> list[o.Output]:
        """Commit the oldest `count` batches, all of them and the open one by default; returns what that releases."""
        if count is None:
            self.close_batch()
            count = len(self.batches) - 1
        released: list[o.Output] = []
        for _ in range(count):
            rows, outputs = self.batches.pop(0)
            for row in rows:
                self.tables.write(row)
            self.residents.committed(self.batch - len(self.batches))
            for output in outputs:
                self._release(output, released)
        self.released += released
        if self.checked and len(self.batches) == 1 and not self.batches[0][0]:
            self.check()
        return released

    def _release(self, output: o.Output, released: list[o.Output]) -> None:
        match output:
            case o.StartAttempt(number, attempt, _, _, length, entries):
                live = self.residents.live(number)
                if live is None or live.attempt != attempt:
                    self.stopping.add((number, attempt))  # it never starts; the engine hears of it as of any other
                    return
                prefix = self.reader.entries(number, 0, length)
                assert len(prefix) == length, "I10: the prefix is committed"
                assert entries is None or list(entries) == list(prefix), "the entries at hand are those of the journal"
                self.attempts[number] = attempt
                self.arrived[attempt] = list(prefix)
            case o.Deliver(number, attempt, index, entry):
                live = self.residents.live(number)
                if live is None or live.attempt != attempt or self.attempts.get(number) != attempt:
                    return
                assert self.reader.entries(number, index, 1) == [entry], "I10: what is delivered is committed"
                assert not isinstance(entry, m.Command)
                self.arrived[attempt].append(entry)
            case o.StopAttempt(number, attempt):
                if self.attempts.get(number) == attempt:
                    del self.attempts[number]
                    self.stopping.add((number, attempt))
            case o.Reply(waiter, answer):
                assert waiter not in self.replies, "an answer is given once"
                self.replies[waiter] = answer
        released.append(output)

    def check(self) -> None:
        """Assert every invariant; everything is committed."""
        wrong = broken(self.residents, self.reader, self.tables.invocations, self.tables.timers)
        assert not wrong, "\n".join(wrong)

    def restart(self) -> None:
        """Lose what is not committed; `Opened` comes next."""
        self._begin()

    def crash(self, *, unclean: bool = True) -> Decision:
        """Lose what is not committed, and open again."""
        self._begin()
        return self.open(unclean=unclean)

    def open(self, *, unclean: bool = False) -> Decision:
        decision = self.do(e.Opened(unclean))
        while (more := [output for output in self.commit() if isinstance(output, o.MoreRecovery)]) and more:
            self.do(e.Recover(more[0].after, more[0].unclean))
        return decision

    # --- shorthand -------------------------------------------------------------------------------------------------

    def waiter(self) -> int:
        self.waiters += 1
        return self.waiters

    def submit(self, target: str, **changes: object) -> int:
        """Submit a call (`Plain/do`, `Thing/key/do`); returns its waiter."""
        service, *key, handler = target.split("/")
        waiter = self.waiter()
        self.uniques += 1
        fields = {"unique": unique(self.uniques), "key": "".join(key), "waiter": waiter} | changes
        self.do(e.Submit(service=service, handler=handler, **fields))  # type: ignore[arg-type]  # fields by name
        return waiter

    def send(self, target: str, **changes: object) -> bytes:
        """Submit a send, and commit; returns the invocation's id."""
        waiter = self.submit(target, mode=e.Mode.SEND, **changes)
        self.commit()
        answer = self.replies[waiter]
        assert isinstance(answer, o.Accepted), answer
        return answer.id

    def number(self, id: bytes) -> int:
        return self.residents.find(id)

    def say(self, number: int, *messages: m.Message, seen: int = -1) -> None:
        """Let the attempt that runs say something."""
        attempt = self.attempts[number]
        for message in messages:
            self.do(e.FromAttempt(number, attempt, message, seen=seen))

    def over(self, number: int, how: e.How = e.How.JOINED, error: m.ErrorMessage | None = None) -> None:
        """The code of the attempt stops."""
        attempt = self.attempts.pop(number)
        self.do(e.AttemptOver(number, attempt, how, error))

    def join_all(self) -> None:
        """The code of every attempt that was told to stop stops."""
        for number, attempt in sorted(self.stopping):
            self.do(e.AttemptOver(number, attempt, e.How.JOINED))
        self.stopping.clear()

    def end(self, number: int, result: m.Value | m.Failure = DONE) -> None:
        """Let the attempt that runs end its invocation, commit, and stop."""
        self.say(number, m.OutputCommand(result), m.EndMessage())
        self.commit()
        self.over(number)
        self.commit()

    def suspend(self, number: int, *completions: int, seen: int = -1, names: tuple[str, ...] = ()) -> None:
        """Let the attempt that runs suspend, commit, and stop."""
        self.say(number, m.SuspensionMessage(completions, (m.CANCEL_SIGNAL,), names), seen=seen)
        self.commit()
        self.over(number)
        self.commit()

    def fire(self) -> None:
        """Fire what is due, to the last page, and commit each."""
        while True:
            self.do(e.TimersDue())
            if not any(isinstance(output, o.MoreTimers) for output in self.commit()):
                return

    def work(self) -> int:
        """Do all work, page by page; returns how many pages that were."""
        pages = 0
        while self.residents.work() is not None:
            self.do(e.WorkDue())
            self.commit()
            self.join_all()
            self.commit()
            pages += 1
            assert pages < 10_000, "work ends"
        return pages

    def status(self, number: int) -> r.Status:
        entity = self.residents.invocation(number)
        assert entity is not None, f"invocation {number} is forgotten"
        return entity.status

    def journal(self, number: int) -> list[m.Message]:
        return list(self.residents.entries(number, 0, 1 << 30))

    def kinds(self, number: int) -> list[str]:
        """The journal as names of its entries."""
        return [type(entry).__name__ for entry in self.journal(number)]

    def outputs(self, kind: type[o.Output]) -> Iterator[o.Output]:
        return (output for output in self.released if isinstance(output, kind))
