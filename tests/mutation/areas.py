"""Which tests answer for which modules."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["AREAS", "Area"]


class Area(NamedTuple):
    """A package, and the tests that must notice when it is wrong.

    `modules` are dotted names; a package stands for everything below it. `tests` are paths below the project's root, of
    files and folders. `ignore` are tests among them that are not run: they need more than memory.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    ignore: tuple[str, ...] = ()


AREAS: Final[dict[str, Area]] = {
    "wire": Area(
        modules=("perdure.wire",),
        tests=("tests/wire",),
        ignore=("tests/wire/test_on_restate_server.py",),
    ),
    "machine": Area(
        modules=("perdure.machine",),
        tests=("tests/machine", "tests/durable/test_turns.py"),
    ),
}
