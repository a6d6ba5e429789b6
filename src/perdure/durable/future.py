"""Values one can await, put into combinators, and await again in a replay."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["DurableFuture"]

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class DurableFuture(Generic[T_co]):
    """A result that is, or will be, in the journal."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, T_co]:
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether the result has been delivered."""
        raise NotImplementedError

    def map(self, fn: Callable[[T_co], U]) -> DurableFuture[U]:
        """A future of `fn` applied to the result."""
        raise NotImplementedError
