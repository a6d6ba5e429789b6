"""One run of the tests against perdure with one change, in a forked child.

The parent has loaded pytest, Hypothesis and everything else that is not perdure; each child loads perdure anew, with
the changed module compiled from its syntax tree.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NamedTuple

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutation.operators import changed

__all__ = ["PASSED", "Child", "Ground", "Reach", "load_third_party", "record", "try_change"]

PASSED: Final = 0
"""Exit status of a child whose tests all passed."""

_PLUGINS: Final = ("anyio.pytest_plugin", "_hypothesis_pytestplugin", "pytest_timeout")
_OPTIONS: Final = (
    "-o addopts=--import-mode=importlib --strict-markers",
    "-o timeout=0",  # the CPU limit ends what does not end
    "--assert=plain",  # nobody reads the failures
    "-p no:cacheprovider",
    "-p no:faulthandler",
    "-q",
)
_MEMORY: Final = 4 * 1024**3
"""Bytes of address space. A loop that no longer ends must not take the machine along."""


class Ground(NamedTuple):
    """What is tested, and where.

    Attributes:
        root: the project's folder, with its `pyproject.toml`.
        package: the name of the package under test.
        sources: its modules, by dotted name.
        tests: files and folders of tests, relative to `root`.
        ignore: what of them is not run.
    """

    root: Path
    package: str
    sources: Mapping[str, Path]
    tests: tuple[str, ...]
    ignore: tuple[str, ...] = ()


class Reach(NamedTuple):
    """What the tests did without a change.

    Attributes:
        seconds: CPU time of each test, by its id.
        lines: which tests ran a line, by module and line; `""` stands for the import.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]


class Child(NamedTuple):
    """A child process that runs tests."""

    pid: int
    since: float

    def ended(self) -> int | None:
        """Its exit status, negative for a signal; `None` while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self) -> None:
        """End it, and wait until it has."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def load_third_party(ground: Ground) -> None:
    """Import what the tests import, except the package under test and the tests themselves."""
    # A child collects the tests and says what was imported for them: that is everything to have.
    read, write = os.pipe()

    def collect() -> int:
        status = _pytest(ground, ["--collect-only", *ground.tests], [])
        with os.fdopen(write, "w") as pipe:
            json.dump([name for name in sys.modules if not _is_own(name, ground)], pipe)
        return status

    child = _fork(collect)
    os.close(write)
    with os.fdopen(read) as pipe:
        names = json.loads(pipe.read() or "[]")
    status = _wait(child)
    if status != PASSED:
        raise SystemExit(f"the tests cannot be collected: pytest ended with {status}; `pytest --collect-only` says why")
    for name in names:
        with contextlib.suppress(ImportError):  # it is only a head start
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def record(ground: Ground) -> Reach:
    """Run all tests without a change, and note what each of them runs.

    The modules are compiled as changed ones are, so that what the tests find later is the change.

    Raises:
        SystemExit: a test fails.
    """
    read, write = os.pipe()

    def run() -> int:
        recorder = _Recorder(ground)
        with _Compiled({name: _compiled(path) for name, path in ground.sources.items()}, ground.sources):
            status = _pytest(ground, ["-x", *ground.tests], [recorder])
        with os.fdopen(write, "w") as pipe:
            json.dump(recorder.reach()._asdict(), pipe)
        return status

    child = _fork(run, quiet=False)
    os.close(write)
    with os.fdopen(read) as pipe:
        found = json.loads(pipe.read() or "null")
    status = _wait(child)
    if status != PASSED:
        raise SystemExit(f"without any change, pytest ended with {status}: there is nothing to find out")
    return Reach(
        found["seconds"],
        {module: {int(line): tests for line, tests in lines.items()} for module, lines in found["lines"].items()},
    )


def try_change(ground: Ground, module: str, number: int, tests: Sequence[str], *, cpu_seconds: float) -> Child:
    """Start the child that runs `tests`, in this order, with the change `number` of `module`.

    Args:
        ground: where.
        module: the changed module.
        number: which change, see `operators.changes`.
        tests: ids of tests.
        cpu_seconds: CPU time after which a signal ends it.
    """

    def run() -> int:
        path = ground.sources[module]
        with _Compiled({module: _compiled(path, number)}, ground.sources):
            files = dict.fromkeys(test.partition("::")[0] for test in tests)
            return _pytest(ground, ["-x", *files], [_Selection(tests)])

    return _fork(run, cpu_seconds=cpu_seconds)


# --- the child -----------------------------------------------------------------------------------------------------


def _fork(run: Callable[[], int], *, quiet: bool = True, cpu_seconds: float | None = None) -> Child:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, time.monotonic())
    status = 70  # something is wrong with the tool itself
    try:
        if quiet:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        if cpu_seconds is not None:
            used = time.process_time()
            resource.setrlimit(resource.RLIMIT_CPU, (int(used + cpu_seconds) + 1, int(used + cpu_seconds) + 3))
        status = int(run())
    finally:
        os._exit(status)  # the parent's own work goes on in the parent only


def _wait(child: Child) -> int:
    _, status = os.waitpid(child.pid, 0)
    return os.waitstatus_to_exitcode(status)


def _pytest(ground: Ground, arguments: Sequence[str], plugins: Sequence[object]) -> int:
    os.chdir(ground.root)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # No shrinking: that a test fails is all there is to know. No clock: a busy machine is no reason to fail.
    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=40,
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")
    options = [word for option in _OPTIONS for word in option.split(" ", 1)]
    loaded = [word for plugin in _PLUGINS for word in ("-p", plugin)]
    ignored = [f"--ignore={path}" for path in ground.ignore]
    return int(pytest.main([*options, *loaded, *ignored, *arguments], plugins=list(plugins)))


def _is_own(name: str, ground: Ground) -> bool:
    return name.partition(".")[0] in {ground.package, "tests", "conftest", "__main__"}


def _compiled(path: Path, number: int | None = None) -> CodeType:
    tree: ast.Module = changed(path.read_text(), number)
    return compile(tree, str(path), "exec", dont_inherit=True)


class _Compiled(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Inside its block, these modules are made from this code."""

    def __init__(self, code: Mapping[str, CodeType], sources: Mapping[str, Path]) -> None:
        self._code = code
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname not in self._code:
            return None
        file = self._sources[fullname]
        folder = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(fullname, file, loader=self, submodule_search_locations=folder)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code[module.__name__], module.__dict__)  # this is how a module is made

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *error: object) -> None:
        sys.meta_path.remove(self)


class _Selection:
    """Keeps the named tests, in the given order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._order = {test: number for number, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(wanted, key=lambda item: self._order[item.nodeid])


class _Recorder:
    """Notes which test runs which line, and for how long."""

    def __init__(self, ground: Ground) -> None:
        self._sources = ground.sources
        self._seconds: dict[str, float] = {}
        self._coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[str(path) for path in ground.sources.values()]
        )
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        begun = time.process_time()
        self._coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._coverage.switch_context("")
            self._seconds[item.nodeid] = time.process_time() - begun

    def reach(self) -> Reach:
        self._coverage.stop()
        data = self._coverage.get_data()
        measured = {str(Path(file).resolve()): file for file in data.measured_files()}
        lines: dict[str, dict[int, list[str]]] = {}
        for module, path in self._sources.items():
            file = measured.get(str(path.resolve()))
            lines[module] = data.contexts_by_lineno(file) if file is not None else {}
        return Reach(self._seconds, lines)
