"""Whoever opened a store: hears what it tells, and can wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

from perdure.engine.rows import AppendEntry, Row
from perdure.engine.storage import Store, open_store
from perdure.exceptions import EngineFailed
from perdure.wire.messages import RunCommand, RunCompletion, Value


class Heard:
    """What a store told, in order: numbers of batches, reasons, errors."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.committed: list[int] = []
        self.retrying: list[str] = []
        self.failed: list[EngineFailed] = []
        self._news = anyio.Event()
        store.start(
            committed=lambda number: self._hear(self.committed, number),
            retrying=lambda reason: self._hear(self.retrying, reason),
            failed=lambda error: self._hear(self.failed, error),
        )

    def _hear(self, kind: list[Any], what: Any) -> None:
        kind.append(what)
        self._news.set()

    async def news(self) -> None:
        """Wait until something more is told."""
        with anyio.fail_after(30):
            await self._news.wait()
        self._news = anyio.Event()

    async def commit(self, number: int, *rows: Row) -> None:
        """Hand a batch over and wait until it is committed; a failure is raised."""
        self.store.submit(number, list(rows))
        while number not in self.committed:
            if self.failed:
                raise self.failed[0]
            await self.news()


@contextlib.contextmanager
def listening(path: str | Path, *, clean: bool = True, **options: Any) -> Iterator[Heard]:
    """A store that is open in the block, not warmed unless asked for."""
    options.setdefault("warmed", False)
    store = open_store(path, **options)
    try:
        yield Heard(store)
    finally:
        store.close(clean=clean)


def step(number: int, index: int, content: bytes = b"done") -> list[Row]:
    """A durable step: its command and its completion, at two indexes of a journal."""
    completion = index // 2 + 1
    return [
        AppendEntry(number, index, RunCommand(result_completion_id=completion, name="step")),
        AppendEntry(number, index + 1, RunCompletion(completion_id=completion, result=Value(content))),
    ]
