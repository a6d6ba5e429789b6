"""From what happens to what is done about it: event, decision, batch, commit, outputs.

One event is decided and applied to memory at once; its rows go into the open batch, its outputs behind them. At most
one batch is on its way to the disk; the next collects meanwhile, so groups form by themselves under load and nobody
waits for a timer. When a batch is committed its outputs are released in the order in which they were decided, without
a checkpoint in between. What depends on no uncommitted row is released at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from perdure.engine.events import Event
    from perdure.engine.outputs import Output
    from perdure.engine.rows import Row
    from perdure.engine.view import Decision

__all__ = ["MOST_ROWS", "Pump"]

MOST_ROWS: Final = 1000
"""Rows of one batch; an event's rows stay together."""


class _Batch:
    """Rows that are committed together, and what is released then."""

    __slots__ = ("number", "outputs", "rows", "then")

    def __init__(self, number: int) -> None:
        self.number: int = number
        self.rows: list[Row] = []
        self.outputs: list[Output] = []
        self.then: list[Callable[[int], None]] = []


class Pump:
    """The order of things.

    Args:
        decide: what an event amounts to.
        apply: folds it into memory.
        submit: commits a batch, given its number and rows; `committed` is called when that is done.
        release: does what an output says.
        lazy: called when rows wait that nobody waits for: `flush` soon.
        fail: called with an error that no decision may have; nothing is decided after it.

    Attributes:
        commits: how many batches were committed.
        stopped: whether nothing is decided any more.
    """

    __slots__ = (
        "_apply",
        "_decide",
        "_draining",
        "_events",
        "_fail",
        "_flying",
        "_lazy",
        "_open",
        "_queue",
        "_release",
        "_settling",
        "_submit",
        "_urgent",
        "commits",
        "stopped",
    )

    def __init__(
        self,
        *,
        decide: Callable[[Event], Decision],
        apply: Callable[[Decision, int], None],
        submit: Callable[[int, list[Row]], None],
        release: Callable[[Output], None],
        lazy: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._decide = decide
        self._apply = apply
        self._submit = submit
        self._release = release
        self._lazy = lazy
        self._fail = fail
        self._events: deque[Event] = deque()
        self._draining = False
        self._settling = False
        self._urgent = False
        self._open = _Batch(1)
        self._flying: _Batch | None = None
        self._queue: deque[_Batch] = deque()
        self.commits: int = 0
        self.stopped: bool = False

    # --- events ----------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Something happened: decide about it, now, or behind what is being decided."""
        if self.stopped:
            return
        self._events.append(event)
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        events = self._events
        self._draining = True
        try:
            while events and not self.stopped:
                self._one(events.popleft())
        finally:
            self._draining = False

    def _one(self, event: Event) -> None:
        batch = self._open
        try:
            decision = self._decide(event)
            if batch.rows and len(batch.rows) + len(decision.rows) > MOST_ROWS:
                self._queue.append(batch)
                batch = self._open = _Batch(batch.number + 1)
                self._urgent = True
            self._apply(decision, batch.number)
        except Exception as error:  # noqa: BLE001 - the engine fails with it: memory is not to be trusted any more
            self.stop()
            self._fail(error)
            return
        batch.rows.extend(decision.rows)
        if decision.urgent:
            self._urgent = True
        if not decision.outputs:
            return
        if self._flying is None and not self._queue and not batch.rows:
            for output in decision.outputs:
                self._release(output)
        else:
            batch.outputs.extend(decision.outputs)
            if batch.rows and not decision.rows:
                self._urgent = True  # a question about what is not committed

    # --- batches ---------------------------------------------------------------------------------------------------

    @property
    def open_batch(self) -> int:
        """The number of the batch that what was just decided belongs to; 0 when nothing is uncommitted."""
        batch = self._open
        return batch.number if batch.rows or self._flying is not None or self._queue else 0

    @property
    def idle(self) -> bool:
        """Whether everything that was decided is committed and released."""
        return self._flying is None and not self._queue and not self._open.rows and not self._events

    def after_commit(self, then: Callable[[int], None]) -> None:
        """Call `then`, with the number of the batch, when what was just decided is committed; before its outputs."""
        self._open.then.append(then)

    def settle(self) -> None:
        """Whatever belongs together was fed: commit if somebody waits for it and the disk is free."""
        if self._draining or self._settling:
            return
        self._settling = True  # a store that commits at once calls back from inside of `submit`
        try:
            while self._flying is None and not self.stopped and (self._urgent or self._queue):
                self._fly()
        finally:
            self._settling = False
        if self._flying is None and self._open.rows and not self.stopped:
            self._lazy()

    def flush(self) -> None:
        """Commit what there is, as soon as the disk is free."""
        if self._open.rows:
            self._urgent = True
        self.settle()

    def _fly(self) -> None:
        if self._queue:
            batch = self._queue.popleft()
        else:
            batch = self._open
            self._urgent = False
            if not batch.rows:
                return
            self._open = _Batch(batch.number + 1)
        self._flying = batch
        self._submit(batch.number, batch.rows)

    def committed(self, number: int) -> None:
        """The batch in flight is committed: release what waited for it, and send the next."""
        batch = self._flying
        if self.stopped or batch is None:
            return
        assert batch.number == number, f"batch {number} was committed while {batch.number} was in flight"
        self.commits += 1
        # Events that are raised meanwhile belong behind the outputs that are released here.
        nested, self._draining = self._draining, True
        try:
            self._flying = None
            for then in batch.then:
                then(number)
            for output in batch.outputs:
                self._release(output)
            if not self._queue and not self._open.rows:
                for then in self._open.then:
                    then(number)
                self._open.then.clear()
                outputs, self._open.outputs = self._open.outputs, []
                for output in outputs:
                    self._release(output)
        finally:
            self._draining = nested
        if not self._draining:
            self._drain()
        self.settle()

    def stop(self) -> None:
        """Decide nothing more, and release nothing more."""
        self.stopped = True
        self._events.clear()
