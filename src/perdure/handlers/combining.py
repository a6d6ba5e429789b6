"""The combinators of a context, typed.

Variadic generics cannot say "a tuple of futures becomes a tuple of their results", nor "the union of these classes", so
the usual numbers of arguments are written out; beyond them the results share one type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from perdure.durable.combinators import Case, Outcome
    from perdure.durable.completion_set import DurableFuturesUnordered
    from perdure.durable.future import DurableFuture

__all__ = ["Combining"]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
C1 = TypeVar("C1", bound="Case[Any]")
C2 = TypeVar("C2", bound="Case[Any]")
C3 = TypeVar("C3", bound="Case[Any]")
C4 = TypeVar("C4", bound="Case[Any]")
C5 = TypeVar("C5", bound="Case[Any]")
C6 = TypeVar("C6", bound="Case[Any]")
C7 = TypeVar("C7", bound="Case[Any]")
C8 = TypeVar("C8", bound="Case[Any]")


class Combining(Protocol):
    """Futures made of futures. They nest, and what decides among several is the order of the journal."""

    @overload
    def select(self, case: C1, /) -> DurableFuture[C1]: ...
    @overload
    def select(self, case1: C1, case2: C2, /) -> DurableFuture[C1 | C2]: ...
    @overload
    def select(self, case1: C1, case2: C2, case3: C3, /) -> DurableFuture[C1 | C2 | C3]: ...
    @overload
    def select(self, case1: C1, case2: C2, case3: C3, case4: C4, /) -> DurableFuture[C1 | C2 | C3 | C4]: ...
    @overload
    def select(
        self, case1: C1, case2: C2, case3: C3, case4: C4, case5: C5, /
    ) -> DurableFuture[C1 | C2 | C3 | C4 | C5]: ...
    @overload
    def select(
        self, case1: C1, case2: C2, case3: C3, case4: C4, case5: C5, case6: C6, /
    ) -> DurableFuture[C1 | C2 | C3 | C4 | C5 | C6]: ...
    @overload
    def select(
        self, case1: C1, case2: C2, case3: C3, case4: C4, case5: C5, case6: C6, case7: C7, /
    ) -> DurableFuture[C1 | C2 | C3 | C4 | C5 | C6 | C7]: ...
    @overload
    def select(
        self, case1: C1, case2: C2, case3: C3, case4: C4, case5: C5, case6: C6, case7: C7, case8: C8, /
    ) -> DurableFuture[C1 | C2 | C3 | C4 | C5 | C6 | C7 | C8]: ...
    @overload
    def select(self, *cases: C1) -> DurableFuture[C1]: ...
    def select(self, *cases: Any) -> DurableFuture[Any]:
        """Wait for whichever case is done first, and get that case, with its value.

        Name the alternatives with classes of your own, and `match` on them; type checkers see when one is missing.

        ::

            class Approved(Case[bool]): ...
            class Late(Case[None]): ...

            match await ctx.select(Approved(approval), Late(ctx.sleep(days=2))):
                case Approved(True): ...
                case Approved(_) | Late(): ...

        The failure of the case that is done first is raised. Steps (`ctx.run`) that lost are cancelled when the
        handler ends.
        """
        ...

    @overload
    def gather(self, f1: DurableFuture[T1], /) -> DurableFuture[tuple[T1]]: ...
    @overload
    def gather(self, f1: DurableFuture[T1], f2: DurableFuture[T2], /) -> DurableFuture[tuple[T1, T2]]: ...
    @overload
    def gather(
        self, f1: DurableFuture[T1], f2: DurableFuture[T2], f3: DurableFuture[T3], /
    ) -> DurableFuture[tuple[T1, T2, T3]]: ...
    @overload
    def gather(
        self, f1: DurableFuture[T1], f2: DurableFuture[T2], f3: DurableFuture[T3], f4: DurableFuture[T4], /
    ) -> DurableFuture[tuple[T1, T2, T3, T4]]: ...
    @overload
    def gather(
        self,
        f1: DurableFuture[T1],
        f2: DurableFuture[T2],
        f3: DurableFuture[T3],
        f4: DurableFuture[T4],
        f5: DurableFuture[T5],
        /,
    ) -> DurableFuture[tuple[T1, T2, T3, T4, T5]]: ...
    @overload
    def gather(
        self,
        f1: DurableFuture[T1],
        f2: DurableFuture[T2],
        f3: DurableFuture[T3],
        f4: DurableFuture[T4],
        f5: DurableFuture[T5],
        f6: DurableFuture[T6],
        /,
    ) -> DurableFuture[tuple[T1, T2, T3, T4, T5, T6]]: ...
    @overload
    def gather(self, *futures: DurableFuture[T]) -> DurableFuture[tuple[T, ...]]: ...
    def gather(self, *futures: DurableFuture[Any]) -> DurableFuture[tuple[Any, ...]]:
        """Wait for all results, in the order given. The first failure is raised at once; the others go on."""
        ...

    @overload
    def first(self, f1: DurableFuture[T1], f2: DurableFuture[T2], /) -> DurableFuture[T1 | T2]: ...
    @overload
    def first(
        self, f1: DurableFuture[T1], f2: DurableFuture[T2], f3: DurableFuture[T3], /
    ) -> DurableFuture[T1 | T2 | T3]: ...
    @overload
    def first(self, *futures: DurableFuture[T]) -> DurableFuture[T]: ...
    def first(self, *futures: DurableFuture[Any]) -> DurableFuture[Any]:
        """Wait for whichever is done first: its result, or its failure. `select` also tells which one it was."""
        ...

    @overload
    def first_success(self, f1: DurableFuture[T1], f2: DurableFuture[T2], /) -> DurableFuture[T1 | T2]: ...
    @overload
    def first_success(
        self, f1: DurableFuture[T1], f2: DurableFuture[T2], f3: DurableFuture[T3], /
    ) -> DurableFuture[T1 | T2 | T3]: ...
    @overload
    def first_success(self, *futures: DurableFuture[T]) -> DurableFuture[T]: ...
    def first_success(self, *futures: DurableFuture[Any]) -> DurableFuture[Any]:
        """Wait for the first result that is no failure. When all fail, an `ExceptionGroup` of the errors is raised."""
        ...

    @overload
    def settle(self, f1: DurableFuture[T1], /) -> DurableFuture[tuple[Outcome[T1]]]: ...
    @overload
    def settle(
        self, f1: DurableFuture[T1], f2: DurableFuture[T2], /
    ) -> DurableFuture[tuple[Outcome[T1], Outcome[T2]]]: ...
    @overload
    def settle(
        self, f1: DurableFuture[T1], f2: DurableFuture[T2], f3: DurableFuture[T3], /
    ) -> DurableFuture[tuple[Outcome[T1], Outcome[T2], Outcome[T3]]]: ...
    @overload
    def settle(self, *futures: DurableFuture[T]) -> DurableFuture[tuple[Outcome[T], ...]]: ...
    def settle(self, *futures: DurableFuture[Any]) -> DurableFuture[tuple[Any, ...]]:
        """Wait until all are done, and get the outcome of each, in the order given: `Succeeded` or `Failed`.

        Terminal failures are told, not raised.
        """
        ...

    def unordered(self, futures: Iterable[DurableFuture[T]] = (), /) -> DurableFuturesUnordered[T]:
        """Return a set of futures that is read in the order in which they are done, and may grow meanwhile."""
        ...
