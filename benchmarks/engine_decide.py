"""What the engine thinks per event, without disk and loop: microseconds of `decide` and `apply`.

    python benchmarks/engine_decide.py             # a table, with the goals
    python benchmarks/engine_decide.py --json

A step is two events, the command and the proposal of its result. A journal of any length must cost the same, and so
must a queue of any length.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from perdure.engine import events as e
from perdure.engine.lifecycle import decide
from perdure.engine.residency import Residents
from perdure.wire import messages as m

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.engine.pure_engine import SERVICES, deployment, unique
from tests.engine.tables import Reads, Tables

GOALS = {"run completion": 15.0, "run command": 15.0}
"""Microseconds."""

NOW = 1_700_000_000_000
PAYLOAD = m.Value(b'{"ok":true}')


class Engine:
    """Decisions over empty tables: everything stays in memory, as if nothing were ever committed."""

    def __init__(self) -> None:
        self.residents = Residents(Reads(Tables()), room=1 << 30)
        self.batch = 1
        self.uniques = 0
        self.do(e.RegisterDeployment(deployment(), SERVICES, 0))

    def do(self, event: e.Event) -> None:
        decision = decide(self.residents, event, NOW)
        self.residents.apply(decision, self.batch, NOW)

    def commit(self) -> None:
        self.residents.committed(self.batch)
        self.batch += 1

    def submit(self, service: str = "Plain", key: str = "") -> int:
        self.uniques += 1
        self.do(e.Submit(service=service, handler="do", key=key, unique=unique(self.uniques), waiter=self.uniques))
        return self.residents.counters.invocation

    def attempt(self, number: int) -> int:
        live = self.residents.live(number)
        assert live is not None
        return live.attempt


def steps(engine: Engine, count: int, *, behind: int = 0) -> Iterator[tuple[str, float]]:
    """Steps of one invocation, with `behind` entries of journal before them."""
    number = engine.submit()
    attempt = engine.attempt(number)
    for id in range(1, behind // 2 + 1):
        engine.do(e.FromAttempt(number, attempt, m.RunCommand(id)))
        engine.do(e.FromAttempt(number, attempt, m.ProposeRunCompletionMessage(id, PAYLOAD, True)))
        engine.commit()
    for id in range(behind // 2 + 1, behind // 2 + count + 1):
        yield "run command", timed(engine, e.FromAttempt(number, attempt, m.RunCommand(id, "step")))
        yield (
            "run completion",
            timed(engine, e.FromAttempt(number, attempt, m.ProposeRunCompletionMessage(id, PAYLOAD, True))),
        )
        started = time.perf_counter()
        engine.commit()
        yield "after a commit", time.perf_counter() - started


def timed(engine: Engine, event: e.Event) -> float:
    started = time.perf_counter()
    engine.do(event)
    return time.perf_counter() - started


def starts_and_ends(engine: Engine, count: int) -> Iterator[tuple[str, float]]:
    for _ in range(count):
        started = time.perf_counter()
        number = engine.submit()
        yield "start", time.perf_counter() - started
        attempt = engine.attempt(number)
        started = time.perf_counter()
        engine.do(e.FromAttempt(number, attempt, m.OutputCommand(PAYLOAD)))
        engine.do(e.FromAttempt(number, attempt, m.EndMessage()))
        engine.do(e.AttemptOver(number, attempt, e.How.JOINED))
        yield "output, end, joined", time.perf_counter() - started
        engine.commit()


def hand_overs(engine: Engine, waiting: int, count: int) -> Iterator[tuple[str, float]]:
    """The holder of a key ends, and the next of `waiting` gets it."""
    first = engine.submit("Thing", "hot")
    for _ in range(waiting):
        engine.submit("Thing", "hot")
    for number in range(first, first + count):
        attempt = engine.attempt(number)
        engine.do(e.FromAttempt(number, attempt, m.OutputCommand(PAYLOAD)))
        started = time.perf_counter()
        engine.do(e.FromAttempt(number, attempt, m.EndMessage()))
        engine.do(e.AttemptOver(number, attempt, e.How.JOINED))
        yield f"end and hand on, {waiting:,} waiting", time.perf_counter() - started


def calls(engine: Engine, count: int) -> Iterator[tuple[str, float]]:
    number = engine.submit()
    attempt = engine.attempt(number)
    for id in range(1, 2 * count, 2):
        command = m.CallCommand("Plain", "do", b"{}", invocation_id_notification_idx=id, result_completion_id=id + 1)
        started = time.perf_counter()
        engine.do(e.FromAttempt(number, attempt, command))
        yield "call", time.perf_counter() - started
        callee = engine.residents.counters.invocation
        there = engine.attempt(callee)
        engine.do(e.FromAttempt(callee, there, m.OutputCommand(PAYLOAD)))
        engine.do(e.FromAttempt(callee, there, m.EndMessage()))
        engine.do(e.AttemptOver(callee, there, e.How.JOINED))
        engine.commit()


def suspensions(engine: Engine, count: int) -> Iterator[tuple[str, float]]:
    number = engine.submit()
    entity = engine.residents.invocation(number)
    assert entity is not None
    for each in range(count):
        attempt = engine.attempt(number)
        started = time.perf_counter()
        engine.do(e.FromAttempt(number, attempt, m.SuspensionMessage((), (m.CANCEL_SIGNAL,), ("go",)), seen=1 + each))
        engine.do(e.AttemptOver(number, attempt, e.How.JOINED))
        yield "suspend", time.perf_counter() - started
        started = time.perf_counter()
        engine.do(e.SendSignal(entity.id, "go", PAYLOAD, 0))
        yield "signal that resumes", time.perf_counter() - started
        engine.commit()


RUNS: list[Callable[[], Iterator[tuple[str, float]]]] = [
    lambda: steps(Engine(), 20_000),
    lambda: ((f"{what}, 10,000 entries behind", took) for what, took in steps(Engine(), 5_000, behind=10_000)),
    lambda: starts_and_ends(Engine(), 5_000),
    lambda: hand_overs(Engine(), 100, 100),
    lambda: hand_overs(Engine(), 20_000, 1_000),
    lambda: calls(Engine(), 2_000),
    lambda: suspensions(Engine(), 2_000),
]


def measure() -> dict[str, dict[str, float]]:
    """Median and mean microseconds, by what is done."""
    samples: dict[str, list[float]] = {}
    for run in RUNS:
        gc.collect()
        for what, took in run():
            samples.setdefault(what, []).append(took * 1e6)
    return {
        what: {"p50": round(statistics.median(took), 2), "mean": round(statistics.fmean(took), 2)}
        for what, took in samples.items()
    }


def main() -> int:
    """Print what was measured; a missed goal is told, and is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure()
    missed = [what for what, goal in GOALS.items() if found[what]["p50"] > goal]
    if arguments.json:
        print(json.dumps({"microseconds": found, "goals": GOALS, "missed": missed}, indent=2))
        return bool(missed)
    for what, took in found.items():
        goal = f"   goal {GOALS[what]:.0f}" if what in GOALS else ""
        print(f"{what:44} p50 {took['p50']:8.2f} us   mean {took['mean']:8.2f} us{goal}")
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
