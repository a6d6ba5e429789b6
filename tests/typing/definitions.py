"""Handlers have the types of their functions, and can be called like them."""

from __future__ import annotations

from typing import assert_type

from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.definitions import (
    InputlessObjectHandler,
    InputlessServiceHandler,
    ObjectHandler,
    Service,
    ServiceHandler,
)
from tests.typing.shop import (
    Order,
    allowance,
    answer,
    checkout,
    decide,
    frugal,
    left,
    ping,
    reader,
    refill,
    reserve,
    shop,
    status,
    total_of,
)

assert_type(checkout, ServiceHandler[Order, str])
assert_type(total_of, ServiceHandler[list[float], float])
assert_type(ping, InputlessServiceHandler[bool])
assert_type(reserve, ObjectHandler[ObjectContext, int, int])
assert_type(refill, InputlessObjectHandler[ObjectContext, None])
assert_type(left, InputlessObjectHandler[SharedObjectContext, int])
assert_type(allowance, ObjectHandler[SharedObjectContext, str | None, int | None])
assert_type(decide, ObjectHandler[WorkflowContext, Order, bool])
assert_type(answer, ObjectHandler[SharedWorkflowContext, bool, None])
assert_type(status, InputlessObjectHandler[SharedWorkflowContext, str])
assert_type(frugal, ObjectHandler[ObjectContext, int, int])
assert_type(reader, InputlessObjectHandler[ObjectContext, str])

assert_type(shop.with_options(ingress_private=True), Service)


async def handlers_are_still_functions(
    service: Context, exclusive: ObjectContext, shared: SharedObjectContext, workflow: WorkflowContext
) -> None:
    assert_type(await checkout(service, Order("apple")), str)
    assert_type(await ping(service), bool)
    assert_type(await reserve(exclusive, 3), int)
    assert_type(await left(shared), int)
    assert_type(await left(exclusive), int)
    assert_type(await decide(workflow, Order("apple")), bool)
    assert_type(await answer(workflow, True), None)
    assert_type(await checkout(exclusive, Order("apple")), str)
