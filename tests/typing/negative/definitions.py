"""Functions that cannot be handlers of their kind, and options that do not exist."""

from __future__ import annotations

from perdure.handlers.context import Context, ObjectContext, SharedObjectContext, WorkflowContext
from perdure.handlers.definitions import Service, VirtualObject, Workflow
from perdure.handlers.options import Options
from perdure.machine.retry import RetryPolicy
from tests.typing.shop import checkout, left, ping, reserve

shop = Service("Shop")
stock = VirtualObject("Stock")
flow = Workflow("Flow")


@shop.handler  # wrong: arg-type / reportArgumentType
async def wants_state(ctx: ObjectContext, count: int) -> int:
    return count


@stock.shared  # wrong: arg-type / reportArgumentType
async def shared_wants_to_write(ctx: ObjectContext, count: int) -> int:
    return count


@flow.handler  # wrong: arg-type / reportArgumentType
async def beside_main_wants_to_write(ctx: WorkflowContext) -> None: ...


@stock.handler  # wrong: arg-type / reportArgumentType
async def object_wants_promises(ctx: WorkflowContext) -> None: ...


@shop.handler  # wrong: arg-type / reportArgumentType
def not_async(ctx: Context, count: int) -> int:
    return count


@shop.handler  # wrong: arg-type / reportArgumentType
async def two_inputs(ctx: Context, first: int, second: int) -> int:
    return first + second


@shop.handler  # wrong: arg-type / reportArgumentType
async def no_context() -> None: ...


Service("Other", inactivity="5")  # wrong: call-arg / reportCallIssue
Service("Other", inactivity_timeout="5")  # wrong: arg-type / reportArgumentType
Service()  # wrong: call-arg / reportCallIssue
Options(60)  # wrong: call-arg / reportCallIssue
Options(retry=3)  # wrong: arg-type / reportArgumentType
RetryPolicy(on_exhausted="kill")  # wrong: arg-type / reportArgumentType
shop.handler(nam="x")  # wrong: call-overload / reportCallIssue
shop.shared  # wrong: attr-defined / reportAttributeAccessIssue
stock.main  # wrong: attr-defined / reportAttributeAccessIssue


async def direct_calls(service: Context, shared: SharedObjectContext) -> None:
    await checkout(service, "apple")  # wrong: arg-type / reportArgumentType
    await checkout(service)  # wrong: call-arg / reportCallIssue
    await ping(service, 1)  # wrong: call-arg / reportCallIssue
    await reserve(shared, 3)  # wrong: arg-type / reportArgumentType
    await left(service)  # wrong: arg-type / reportArgumentType
