"""Futures made of futures: gather, first, first_success, settle, and select over named cases.

Each is a future itself, so they nest, and each is one node of the await tree, so a runtime of version 7 sees what the
handler really waits for. What decides among several is the order of the journal; where two are done already, the one
that stands first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

from perdure.durable.driver import Driver
from perdure.durable.future import DurableFuture
from perdure.durable.outcome import terminal_of
from perdure.exceptions import TerminalError, UsageError
from perdure.machine.awaiting import FAILED, Combined
from perdure.wire.messages import CombinatorType

__all__ = ["Case", "Failed", "Outcome", "Succeeded", "first", "first_success", "gather", "select", "settle"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")


class Case(Generic[T]):
    """One named alternative of `ctx.select`; subclass it, one class per alternative.

    ::

        class Approved(Case[bool]): ...
        class Late(Case[None]): ...

        match await ctx.select(Approved(approval), Late(ctx.sleep(days=2))):
            case Approved(True): ...
            case Approved(_) | Late(): ...

    Type checkers see the union of the classes given to `select`, and check that the `match` is exhaustive.

    Args:
        future: what this case waits for.

    Attributes:
        value: the result, in the case that `select` returns; reading it earlier raises `UsageError`.
    """

    __slots__ = ("_future", "_value", "_won")
    __match_args__ = ("value",)

    def __init__(self, future: DurableFuture[T]) -> None:
        self._future = future
        self._value: Any = None
        self._won = False

    @property
    def value(self) -> T:
        """The result of the case that won."""
        if not self._won:
            raise UsageError(f"{type(self).__name__} has no value before ctx.select returned it")
        return cast("T", self._value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value!r})" if self._won else f"<{type(self).__name__} pending>"

    def _win(self) -> Case[T]:
        # A fresh object: the same case may be given to several selects, and each has its own answer.
        won = object.__new__(type(self))
        won._future = self._future
        won._value = self._future._result()  # noqa: SLF001 - the layer's own
        won._won = True
        return won


class Succeeded(msgspec.Struct, Generic[T_co], frozen=True):
    """The outcome of something that worked, as `settle` tells it."""

    value: T_co


class Failed(msgspec.Struct, frozen=True):
    """The outcome of something that failed, as `settle` tells it."""

    error: TerminalError


Outcome = Succeeded[T_co] | Failed


class _Combination(DurableFuture[R]):
    """A future of several futures."""

    __slots__ = ("_collect",)

    def __init__(
        self,
        driver: Driver,
        combinator: CombinatorType,
        futures: Sequence[DurableFuture[Any]],
        collect: Callable[[Combined], R],
    ) -> None:
        super().__init__(driver, Combined(combinator, [future._observe() for future in futures]))  # noqa: SLF001
        self._collect = collect

    def _read(self) -> R:
        return self._collect(cast("Combined", self._node))


def _need(futures: Sequence[object], what: str) -> None:
    if not futures:
        raise UsageError(f"{what} of nothing would wait for ever: give it at least one future")


def gather(driver: Driver, futures: Sequence[DurableFuture[Any]]) -> DurableFuture[tuple[Any, ...]]:
    """All results, in the order given; the first failure is raised as soon as it is there."""

    def collect(node: Combined) -> tuple[Any, ...]:
        if node.state == FAILED:
            assert node.winner is not None
            futures[node.winner]._result()  # noqa: SLF001 - raises the failure
        return tuple(future._result() for future in futures)  # noqa: SLF001

    return _Combination(driver, CombinatorType.ALL_SUCCEEDED_OR_FIRST_FAILED, futures, collect)


def first(driver: Driver, futures: Sequence[DurableFuture[T]]) -> DurableFuture[T]:
    """The result, or the failure, of whichever is done first."""
    _need(futures, "first")

    def collect(node: Combined) -> T:
        assert node.winner is not None
        return futures[node.winner]._result()  # noqa: SLF001

    return _Combination(driver, CombinatorType.FIRST_COMPLETED, futures, collect)


def first_success(driver: Driver, futures: Sequence[DurableFuture[T]]) -> DurableFuture[T]:
    """The first result that is no failure; when all failed, an `ExceptionGroup` of their errors in the order given."""
    _need(futures, "first_success")

    def collect(node: Combined) -> T:
        if node.state == FAILED:
            errors = [outcome.error for outcome in map(_outcome, futures) if isinstance(outcome, Failed)]
            raise ExceptionGroup(f"all {len(errors)} alternatives failed", errors)
        assert node.winner is not None
        return futures[node.winner]._result()  # noqa: SLF001

    return _Combination(driver, CombinatorType.FIRST_SUCCEEDED_OR_ALL_FAILED, futures, collect)


def _outcome(future: DurableFuture[T]) -> Succeeded[T] | Failed:
    try:
        return Succeeded(future._result())  # noqa: SLF001
    except (TerminalError, ExceptionGroup) as error:
        terminal = terminal_of(error)
        if terminal is None:
            raise
        return Failed(terminal)


def settle(driver: Driver, futures: Sequence[DurableFuture[Any]]) -> DurableFuture[tuple[Any, ...]]:
    """The outcome of each, in the order given, when all are done; terminal failures are told, not raised."""

    def collect(_: Combined) -> tuple[Any, ...]:
        return tuple(map(_outcome, futures))

    return _Combination(driver, CombinatorType.ALL_COMPLETED, futures, collect)


def select(driver: Driver, cases: Sequence[Case[Any]]) -> DurableFuture[Any]:
    """The case that is done first, with its value; its failure is raised."""
    _need(cases, "select")

    def collect(node: Combined) -> Case[Any]:
        assert node.winner is not None
        return cases[node.winner]._win()  # noqa: SLF001

    futures = [case._future for case in cases]  # noqa: SLF001
    return _Combination(driver, CombinatorType.FIRST_COMPLETED, futures, collect)
