"""Who hears of a store's commits, and how one writer tells: once for each batch, on the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from perdure.engine.rows import Row
from perdure.engine.storage.bridge import Post
from perdure.exceptions import EngineFailed

__all__ = ["Listener", "Rows", "Writer"]

Rows = list[Row]

_log: Final = logging.getLogger("perdure.engine")


class Listener:
    """The three functions of whoever opened the store, called on its loop, each in a turn of its own.

    They must not raise: nobody is there to catch it.

    Args:
        post: the way to the loop.
        committed: takes the number of a batch that is durable.
        retrying: takes a line that says why a batch cannot be written now. It is kept and tried again.
        failed: takes the error after which nothing is written any more. Called at most once.
    """

    __slots__ = ("_committed", "_failed", "_post", "_retrying", "failure", "in_flight")

    def __init__(
        self,
        post: Post,
        committed: Callable[[int], object],
        retrying: Callable[[str], object],
        failed: Callable[[EngineFailed], object],
    ) -> None:
        self._post = post
        self._committed = committed
        self._retrying = retrying
        self._failed = failed
        self.in_flight: int | None = None
        """The number of the batch that was handed over and is not acknowledged yet; changed on the loop only."""
        self.failure: EngineFailed | None = None
        """Why nothing is written any more."""

    def tell_committed(self) -> None:
        """Acknowledge the batch in flight."""
        self.call(self._acknowledge)

    def tell_retrying(self, reason: str) -> None:
        """The batch in flight was tried, and will be tried again."""
        self.call(self._retrying, reason)

    def tell_failed(self, error: EngineFailed) -> None:
        """Nothing is written any more."""
        if self.failure is None:
            self.failure = error
            self.call(self._failed, error)

    def _acknowledge(self) -> None:
        number, self.in_flight = self.in_flight, None
        assert number is not None
        self._committed(number)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the loop; may be called from any thread."""
        try:
            self._post(function, *args)
        except RuntimeError as error:
            # The loop has ended without closing the engine. What is durable is durable; nobody is left to be told.
            _log.warning("the event loop ended before the engine was closed (%s); close it inside the loop", error)


class Writer(Protocol):
    """Writes what is handed over."""

    def start(self, listener: Listener) -> None:
        """Begin; `listener` hears of everything."""
        ...

    def submit(self, rows: Rows) -> None:
        """Write a batch; it is the only one in flight."""
        ...

    def stop(self) -> None:
        """Finish the batch in flight, and end. Blocks; what goes wrong is told to the listener.

        A batch that is being retried is tried once more.
        """
        ...
