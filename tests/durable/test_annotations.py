from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from perdure.durable.annotations import caller_locals, evaluate, function_of, return_annotation
from perdure.exceptions import UsageError

if TYPE_CHECKING:
    from fractions import Fraction


async def known() -> Decimal:
    return Decimal()


async def unknown() -> Fraction:
    raise AssertionError


def awaitable() -> Awaitable[Decimal]:
    return known()


def coroutine() -> Coroutine[Any, Any, list[Decimal]]:
    raise AssertionError


async def nested() -> Awaitable[Decimal]:
    return known()


def never() -> NoReturn:
    raise AssertionError


def unannotated():  # type: ignore[no-untyped-def]
    return 5


def evaluated() -> None: ...


evaluated.__annotations__["return"] = int


@pytest.mark.parametrize(
    ("fn", "annotation"),
    [
        (known, Decimal),
        (awaitable, Decimal),
        (coroutine, list[Decimal]),
        (never, None),
        (unannotated, Any),
        (evaluated, int),
        (lambda: 5, Any),
        (functools.partial(known), Decimal),
        (Decimal, Decimal),
        (len, Any),
    ],
    ids=repr,
)
def test_the_type_of_a_result_is_what_the_annotation_means(fn: Callable[..., Any], annotation: Any) -> None:
    assert return_annotation(fn) == annotation


def test_what_an_async_function_returns_is_not_unwrapped() -> None:
    assert return_annotation(nested) == Awaitable[Decimal]


def test_a_name_that_only_type_checkers_know_is_told_with_a_way_out() -> None:
    with pytest.raises(UsageError) as raised:
        return_annotation(unknown)
    text = str(raised.value)
    assert "unknown() returns 'Fraction'" in text
    assert "name 'Fraction' is not defined" in text
    assert "`returns=`" in text


@pytest.mark.parametrize("text", ["list[", "Decimal.missing", "5 5"])
def test_an_annotation_that_is_no_type_is_told(text: str) -> None:
    def fn() -> None: ...

    fn.__annotations__["return"] = text
    with pytest.raises(UsageError, match="cannot be evaluated in module"):
        return_annotation(fn)


def test_names_that_a_function_closes_over_are_known() -> None:
    class Local: ...

    def fn() -> Local:
        return Local()

    assert return_annotation(fn) is Local


def test_a_name_that_is_bound_later_is_passed_over() -> None:
    def fn() -> Decimal:
        return later()

    assert return_annotation(fn) is Decimal

    def later() -> Decimal:
        return Decimal()


def test_more_names_can_be_given() -> None:
    def fn(order: Local) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - given below

    class Mine: ...

    assert evaluate(fn.__annotations__["order"], function(fn), {"Local": Mine}) is Mine


def function(fn: Callable[..., object]) -> Any:
    return function_of(fn)


class Maker:
    def make(self) -> int:
        return 5

    def __call__(self) -> str:
        return ""

    @classmethod
    def build(cls) -> float:
        return 0.0


def test_the_function_behind_a_callable_is_found() -> None:
    assert function_of(functools.partial(functools.partial(known))) is function(known)
    assert function_of(Maker().make) is Maker.make
    assert function_of(Maker()) is Maker.__call__
    assert function_of(Maker.build) is function(Maker.build.__func__)  # type: ignore[attr-defined]  # a bound method has it
    assert function_of(len) is None
    assert function_of(int) is None


def test_the_locals_of_a_function_are_those_of_its_caller() -> None:
    mine = 5
    assert caller_locals(0)["mine"] == mine


def test_a_module_has_no_locals() -> None:
    names: dict[str, Any] = {"caller_locals": caller_locals}
    exec("found = caller_locals(0)", names)
    assert names["found"] == {}
