"""Combinators keep the types of what they combine, and `match` over `select` is checked to be exhaustive."""

from __future__ import annotations

from typing import assert_never, assert_type

from perdure.durable.combinators import Case, Failed, Outcome, Succeeded
from perdure.durable.future import DurableFuture
from perdure.handlers.context import Context
from tests.typing.shop import Order, checkout, ping, total_of


class Approved(Case[bool]): ...


class Late(Case[None]): ...


class Priced(Case[float]): ...


async def exhaustive(ctx: Context) -> str:
    match await ctx.select(Approved(ctx.awakeable(bool)), Late(ctx.sleep(days=2))):
        case Approved(True):
            return "yes"
        case Approved(_) | Late():
            return "no"


async def every_case_is_narrowed(ctx: Context) -> None:
    chosen = await ctx.select(
        Approved(ctx.awakeable(bool)), Late(ctx.sleep(days=2)), Priced(ctx.call(total_of, [1.0, 2.0]))
    )
    assert_type(chosen, Approved | Late | Priced)
    match chosen:
        case Approved(value):
            assert_type(value, bool)
        case Late(nothing):
            assert_type(nothing, None)
        case Priced(value=price):
            assert_type(price, float)
        case _:
            assert_never(chosen)


async def eight_cases(ctx: Context, approval: DurableFuture[bool]) -> None:
    class C1(Case[bool]): ...

    class C2(Case[bool]): ...

    class C3(Case[bool]): ...

    class C4(Case[bool]): ...

    class C5(Case[bool]): ...

    class C6(Case[bool]): ...

    class C7(Case[bool]): ...

    class C8(Case[bool]): ...

    future = ctx.select(
        C1(approval), C2(approval), C3(approval), C4(approval), C5(approval), C6(approval), C7(approval), C8(approval)
    )
    assert_type(future, DurableFuture[C1 | C2 | C3 | C4 | C5 | C6 | C7 | C8])


async def they_nest(ctx: Context) -> None:
    both = ctx.gather(ctx.call(checkout, Order("apple")), ctx.call(ping))
    assert_type(both, DurableFuture[tuple[str, bool]])
    assert_type(await ctx.first(both, ctx.sleep(5)), tuple[str, bool] | None)


async def tuples(ctx: Context) -> None:
    text = ctx.call(checkout, Order("apple"))
    flag = ctx.call(ping)
    price = ctx.call(total_of, [])
    assert_type(await ctx.gather(text, flag, price), tuple[str, bool, float])
    assert_type(await ctx.gather(*[text, text]), tuple[str, ...])
    assert_type(await ctx.first(text, flag), str | bool)
    assert_type(await ctx.first_success(text, flag, price), str | bool | float)
    assert_type(await ctx.first_success(*[text, text]), str)
    assert_type(await ctx.settle(text, flag), tuple[Outcome[str], Outcome[bool]])
    for outcome in await ctx.settle(*[text, text]):
        match outcome:
            case Succeeded(value):
                assert_type(value, str)
            case Failed(error):
                assert_type(error.code, int)


async def unordered(ctx: Context) -> None:
    pending = ctx.unordered(ctx.call(total_of, [price]) for price in (1.0, 2.0))
    async for index, price in pending:
        assert_type(index, int)
        assert_type(price, float)
        assert_type(pending.push(ctx.call(total_of, [])), int)
