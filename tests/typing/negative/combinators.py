"""A `match` that forgets a case, and combinators of what is no future."""

from __future__ import annotations

from typing import assert_never

from perdure.durable.combinators import Case
from perdure.handlers.context import Context
from tests.typing.shop import ping, total_of


class Approved(Case[bool]): ...


class Late(Case[None]): ...


class Stray(Case[int]): ...


async def forgotten(ctx: Context) -> str:  # wrong: return / reportReturnType
    chosen = await ctx.select(Approved(ctx.awakeable(bool)), Late(ctx.sleep(days=2)))
    match chosen:  # wrong: - / reportMatchNotExhaustive
        case Approved():
            return "yes"


async def forgotten_and_said_so(ctx: Context) -> None:
    chosen = await ctx.select(Approved(ctx.awakeable(bool)), Late(ctx.sleep(days=2)))
    match chosen:
        case Approved(True):
            pass
        case Late():
            pass
        case _:
            assert_never(chosen)  # wrong: arg-type / reportArgumentType


async def mistakes(ctx: Context) -> None:
    Approved(ctx.sleep(1))  # wrong: arg-type / reportArgumentType
    ctx.select(ctx.sleep(1))  # wrong: call-overload / reportCallIssue
    ctx.gather(5, ctx.sleep(1))  # wrong: call-overload / reportCallIssue
    both: tuple[bool, str] = await ctx.gather(  # wrong: assignment / reportAssignmentType
        ctx.call(ping), ctx.call(total_of, [])
    )
    match await ctx.select(Approved(ctx.awakeable(bool)), Late(ctx.sleep(days=2))):
        case Approved(answer):
            answer.real + "x"  # wrong: operator / reportOperatorIssue
        case Late():
            pass
    del both
