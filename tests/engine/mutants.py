"""One-line mutants of the engine's decisions, and a way to run the model against each of them in a world of its own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.test_layers import DECIDING_NAMES

_WORLD = (
    *(f"perdure.engine.{name}" for name in DECIDING_NAMES),
    *(f"tests.engine.{name}" for name in ("tables", "pure_engine", "naive_model", "model_machine")),
)


class Mutant(NamedTuple):
    """One change of one line."""

    name: str
    module: str
    line: str
    instead: str
    needs: str = ""


QUICK = (
    Mutant(
        "the fence is dropped",
        "perdure.engine.lifecycle",
        "if live is None or live.attempt != event.attempt or live.phase is not Phase.RUNNING:",
        "if live is None:",
    ),
    Mutant(
        "the key is given up by a suspension",
        "perdure.engine.lifecycle",
        "    left = leave(draft, live)\n",
        "    left = leave(draft, live); hand_on(draft, entity.service, entity.key)\n",
        "from perdure.engine.keys import hand_on",
    ),
    Mutant(
        "a suspension is not checked against what is there",
        "perdure.engine.lifecycle",
        "if satisfied(entity, awaited):",
        "if satisfied(entity, awaited) and not entity.length:",
    ),
    Mutant(
        "an attempt pins when it starts",
        "perdure.engine.starting",
        "    attempt = view.counters.attempt + 1\n",
        "    attempt = view.counters.attempt + 1; draft.rows.append(Pin(number, deployment, protocol))\n",
        "from perdure.engine.rows import Pin",
    ),
    Mutant(
        "outputs leave when they are decided",
        "tests.engine.pure_engine",
        "        outputs.extend(decision.outputs)\n",
        "        [self._release(output, []) for output in decision.outputs]\n",
    ),
    Mutant(
        "a call leaves no sink with its callee",
        "perdure.engine.commands",
        "        draft.rows.append(PutSink(child.number, number, id))\n",
        "        pass\n",
    ),
    Mutant(
        "a timer that fired is not deleted",
        "perdure.engine.timers",
        "        draft.rows.append(DeleteTimer(timer.due, timer.number, timer.completion))\n",
        "        pass\n",
    ),
    Mutant(
        "the next holder of a key starts beside code that still runs",
        "perdure.engine.endings",
        "        if live.unjoined:\n",
        "        if live.unjoined < 0:\n",
    ),
    Mutant(
        "the next attempt starts beside code that still runs",
        "perdure.engine.starting",
        "        live.unjoined\n",
        "        live.unjoined < 0\n",
    ),
    Mutant(
        "a kill leaves the children alive",
        "perdure.engine.endings",
        "    if children and entity.children:\n",
        "    if children and entity.children < 0:\n",
    ),
    Mutant(
        "a request with a known idempotency key is inserted again",
        "perdure.engine.admission",
        "    entity = present(draft, name) if name is not None else None\n",
        "    entity = None\n",
    ),
    Mutant(
        "timers outlive their invocation",
        "perdure.engine.endings",
        "    draft.rows.extend(DeleteTimer(due, number, id) for id, due in entity.sleeps.items())\n",
        "    pass\n",
    ),
)
"""Those that a few histories find out."""

MUTANTS = (
    *QUICK,
    Mutant(
        "a promise is completed twice",
        "perdure.engine.commands",
        "        answer = _COMPLETED_BEFORE\n",
        "        answer = _COMPLETED_BEFORE; draft.rows.append(PutPromise(service, key, name, command.completion))\n",
    ),
    Mutant(
        "the last in the queue of a key is the first out",
        "perdure.engine.keys",
        "    for position, waiting in entity.queue.items():\n",
        "    for position, waiting in reversed(entity.queue.items()):\n",
    ),
    Mutant(
        "any retry timer starts an attempt",
        "perdure.engine.lifecycle",
        "    if live.phase is Phase.BACKING_OFF and live.attempt == event.attempt:\n",
        "    if live.phase is Phase.BACKING_OFF:\n",
    ),
    Mutant(
        "a cancel wakes only who waits for it",
        "perdure.engine.notifications",
        "        if wakes or satisfied(after, entity.awaited):\n",
        "        if satisfied(after, entity.awaited):\n",
    ),
    Mutant(
        "a state is read as it was committed, not as it was decided",
        "perdure.engine.residency",
        "        changes = self._states.get((service, key))\n        if changes is not None and (",
        "        changes = self._states.get((service, key))\n        if changes is not None and not changes and (",
    ),
    Mutant(
        "an entity with uncommitted rows is dropped from memory",
        "perdure.engine.residency",
        "            if number in self._touched or number in self._lives:\n",
        "            if number in self._lives:\n",
    ),
)


class _Mutator(importlib.abc.MetaPathFinder):
    """Finds the module of the mutant, with the line changed."""

    def __init__(self, mutant: Mutant | None) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del target
        if self._mutant is None or fullname != self._mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        loader = _MutantLoader(fullname, spec.origin)
        loader.mutant = self._mutant
        return importlib.util.spec_from_file_location(fullname, spec.origin, loader=loader)


class _MutantLoader(importlib.machinery.SourceFileLoader):
    mutant: Mutant

    def get_code(self, fullname: str) -> Any:
        text = self.get_source(fullname)
        assert text is not None
        assert text.count(self.mutant.line) == 1, (
            f"the line of {self.mutant.name!r} is not there once: change it here too"
        )
        text = text.replace(self.mutant.line, self.mutant.instead)
        text = text.replace("from typing import", f"{self.mutant.needs}\nfrom typing import", 1)
        return compile(text, self.path, "exec", dont_inherit=True)


@contextlib.contextmanager
def world(mutant: Mutant | None) -> Iterator[Any]:
    """The module of the model's machine, over an engine with one line changed; everything is as before afterwards."""
    kept = {name: sys.modules[name] for name in _WORLD if name in sys.modules}
    finder = _Mutator(mutant)
    _put({})
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module("tests.engine.model_machine")
    finally:
        sys.meta_path.remove(finder)
        _put(kept)


def _put(modules: dict[str, ModuleType]) -> None:
    """Make these the modules of the world, and their packages hold them."""
    for name in _WORLD:
        package, _, child = name.rpartition(".")
        sys.modules.pop(name, None)
        parent = importlib.import_module(package)
        vars(parent).pop(child, None)
        if name in modules:
            sys.modules[name] = modules[name]
            setattr(parent, child, modules[name])


def survives(mutant: Mutant | None, examples: int) -> bool:
    """Whether the model finds nothing wrong in so many histories, the same ones each time."""
    profile = settings(
        max_examples=examples,
        stateful_step_count=60,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    with world(mutant) as machine, contextlib.redirect_stdout(io.StringIO()):
        try:
            run_state_machine_as_test(machine.Lifecycles, settings=profile)
        except (AssertionError, RuntimeError, KeyError, IndexError, AttributeError):
            return False
    return True
