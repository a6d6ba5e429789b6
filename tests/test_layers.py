"""Imports point down only, and the two lowest layers know nothing of loops, clocks, files and sockets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import perdure

ROOT = Path(perdure.__file__).parent

# A folder or module at the root of the package, and how high it stands. What is not named is an edge.
LAYERS = {"exceptions": 0, "wire": 1, "machine": 2, "durable": 3, "structured": 4, "handlers": 5}
EDGE = 6
PACKAGE = 7

DECIDING_NAMES = (
    "admission",
    "commands",
    "draft",
    "endings",
    "entities",
    "events",
    "fold",
    "invariants",
    "keys",
    "lifecycle",
    "naming",
    "notes",
    "notifications",
    "operations",
    "outputs",
    "poison",
    "residency",
    "retries",
    "rows",
    "starting",
    "suspension",
    "timers",
    "view",
    "work",
)

IMPURE = frozenset(
    {"anyio", "asyncio", "logging", "os", "random", "socket", "sqlite3", "structlog", "threading", "time", "trio"}
)


def imported(text: str) -> Iterator[str]:
    """The dotted names that a module imports, at its top and inside of functions.

    A name imported from a module counts as a module below it, since `from perdure import wire` imports one.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def height(name: str) -> int:
    """How high a module of perdure stands."""
    parts = name.split(".")
    below = parts[1] if len(parts) > 1 else ""
    if not (ROOT / below).is_dir() and not (ROOT / f"{below}.py").is_file():
        return PACKAGE  # a name of the package itself: `from perdure import Context`
    return LAYERS.get(below, EDGE) if below else PACKAGE


def upward(module: str, text: str) -> list[str]:
    """The imports of a module that point up."""
    return [name for name in imported(text) if name.split(".")[0] == "perdure" and height(name) > height(module)]


def impure(text: str) -> set[str]:
    """The imports of a module that a layer without I/O must not have."""
    return {name.split(".")[0] for name in imported(text)} & IMPURE


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


# In a wheel the example of the demo lies among the commands; it is a user's program, and uses the package as users do.
EXAMPLE = ROOT / "cli" / "_checkout_example.py"
MODULES = {name_of(path): path.read_text() for path in sorted(ROOT.rglob("*.py")) if path != EXAMPLE}
PURE = [name for name in MODULES if name.split(".")[1:2] in (["exceptions"], ["wire"], ["machine"])]
# The half of the engine that decides: it is given the time, and what it reads comes through a view.
DECIDING = [f"perdure.engine.{name}" for name in DECIDING_NAMES]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    assert upward(module, MODULES[module]) == []


@pytest.mark.parametrize("module", DECIDING)
def test_what_the_engine_decides_with_knows_no_loop_clock_thread_or_file(module: str) -> None:
    assert impure(MODULES[module]) == set()
    below = tuple(f"{name}." for name in ["perdure.exceptions", "perdure.wire", "perdure.machine", *DECIDING])
    mine = [name for name in imported(MODULES[module]) if name.split(".")[0] == "perdure"]
    assert [name for name in mine if not f"{name}.".startswith(below)] == []


@pytest.mark.parametrize("module", PURE)
def test_the_lowest_layers_import_nothing_that_waits_or_does_io(module: str) -> None:
    assert impure(MODULES[module]) == set()


def test_both_lowest_layers_are_looked_at() -> None:
    assert {"perdure.exceptions", "perdure.wire.decoder", "perdure.machine.states"} <= set(PURE)


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("perdure.wire.frames", "from perdure.machine.states import State", ["perdure.machine.states.State"]),
        ("perdure.wire.frames", "import perdure.durable", ["perdure.durable"]),
        ("perdure.machine.journal", "def f():\n    from perdure import handlers", ["perdure.handlers"]),
        ("perdure.durable.future", "from perdure import Context", ["perdure.Context"]),
        ("perdure.handlers.context", "import perdure.testing.runtime", ["perdure.testing.runtime"]),
        ("perdure.machine.journal", "from perdure.wire import frames\nimport os", []),
        ("perdure.wire.frames", "from perdure.exceptions import ProtocolError", []),
        ("perdure.testing.runtime", "from perdure.client import Client", []),
        ("perdure", "from perdure.testing import runtime", []),
    ],
)
def test_an_import_that_points_up_is_seen(module: str, text: str, expected: list[str]) -> None:
    assert upward(module, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os.path", {"os"}),
        ("from time import monotonic", {"time"}),
        ("def f():\n    import trio.lowlevel as low", {"trio"}),
        ("import struct, enum", set()),
    ],
)
def test_an_impure_import_is_seen(text: str, expected: set[str]) -> None:
    assert impure(text) == expected
