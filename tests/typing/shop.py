"""Services that the other files of this folder call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.definitions import Service, VirtualObject, Workflow
from perdure.handlers.options import Options
from perdure.machine.retry import RetryPolicy

shop = Service("Shop", inactivity_timeout=60)
stock = VirtualObject("Stock", options=Options(lazy_state=True))
approval = Workflow("Approval", workflow_retention=3600)


@dataclass
class Order:
    sku: str
    count: int = 1


class Address(TypedDict):
    street: str
    number: float


@shop.handler
async def checkout(ctx: Context, order: Order) -> str:
    return order.sku


@shop.handler(name="total", retry=RetryPolicy(max_attempts=3), ingress_private=True)
async def total_of(ctx: Context, prices: list[float]) -> float:
    return sum(prices)


@shop.handler
async def ship(ctx: Context, to: Address) -> None: ...


@shop.handler
async def ping(ctx: Context) -> bool:
    return True


@stock.handler
async def reserve(ctx: ObjectContext, count: int) -> int:
    return count


@stock.handler
async def refill(ctx: ObjectContext) -> None: ...


@stock.shared
async def left(ctx: SharedObjectContext) -> int:
    return 0


@stock.shared(documentation="how many a customer may have")
async def allowance(ctx: SharedObjectContext, customer: str | None) -> int | None:
    return None


@approval.main
async def decide(ctx: WorkflowContext, order: Order) -> bool:
    return True


@approval.handler
async def answer(ctx: SharedWorkflowContext, yes: bool) -> None: ...


@approval.handler
async def status(ctx: SharedWorkflowContext) -> str:
    return ""


# A handler may ask for less than it gets.
@stock.handler
async def frugal(ctx: Context, count: int) -> int:
    return count


@stock.handler
async def reader(ctx: SharedObjectContext) -> str:
    return ctx.key
