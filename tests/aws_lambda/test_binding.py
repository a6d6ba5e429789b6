"""Functions as services: what a handler may look like, and what is read and written for it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pydantic
import pytest

from perdure.aws_lambda import (
    BufferedResponse,
    FunctionError,
    Invocation,
    LambdaContext,
    LambdaEvent,
    PayloadError,
    StreamingResponse,
    service_fn,
)
from perdure.exceptions import UsageError

pytestmark = pytest.mark.anyio

CONTEXT = LambdaContext(request_id="r-1")


class Order(msgspec.Struct):
    item: str
    count: int = 1


class Model(pydantic.BaseModel):
    item: str
    count: int = 1


@dataclasses.dataclass
class Line:
    orders: list[Order]


class Own:
    @classmethod
    def __lambda_decode__(cls, data: bytes) -> Own:
        assert data == b"{}"
        return cls()

    def __lambda_encode__(self) -> bytes:
        return b'"own"'


async def answer(handler: Any, payload: object) -> Any:
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    response = await service_fn(handler).invoke(Invocation(body, CONTEXT))
    assert isinstance(response, BufferedResponse)
    return response.body if response.content_type != "application/json" else msgspec.json.decode(response.body)


async def test_one_argument_without_annotation_is_an_event() -> None:
    async def handler(event):  # type: ignore[no-untyped-def]  # the point
        return [event.payload, event.context.request_id]

    assert await answer(handler, {"a": 1}) == [{"a": 1}, "r-1"]


async def test_two_arguments_are_payload_and_context() -> None:
    async def handler(event, context):  # type: ignore[no-untyped-def]  # the point
        return [event, context.aws_request_id]

    assert await answer(handler, {"a": 1}) == [{"a": 1}, "r-1"]


async def test_one_argument_of_another_type_is_the_payload() -> None:
    async def handler(order: Order) -> str:
        assert isinstance(order, Order)
        return order.item

    assert await answer(handler, {"item": "tea"}) == "tea"


async def test_an_event_of_a_type_has_a_payload_of_that_type() -> None:
    async def handler(event: LambdaEvent[Line]) -> Order:
        return event.payload.orders[0]

    assert await answer(handler, {"orders": [{"item": "tea"}]}) == {"item": "tea", "count": 1}


async def test_models_of_pydantic_are_read_and_written() -> None:
    async def handler(event: LambdaEvent[Model]) -> list[Model]:
        return [event.payload]

    assert await answer(handler, {"item": "tea", "count": "2"}) == [{"item": "tea", "count": 2}]


async def test_bytes_travel_as_they_are() -> None:
    async def handler(payload: bytes) -> bytes:
        return payload[::-1]

    assert await answer(handler, b"\x01\x02") == b"\x02\x01"


async def test_nothing_is_the_json_null() -> None:
    async def handler(event: LambdaEvent[Any]) -> None:
        assert event.payload is None

    assert await answer(handler, b"") is None


async def test_a_class_that_reads_and_writes_itself_does_so() -> None:
    async def handler(event: LambdaEvent[Own]) -> Own:
        return event.payload

    assert await answer(handler, {}) == "own"


async def test_an_async_generator_becomes_a_stream() -> None:
    async def handler(order: Order) -> AsyncIterator[bytes]:
        yield order.item.encode()

    response = await service_fn(handler).invoke(Invocation(b'{"item": "tea"}'))
    assert isinstance(response, StreamingResponse)
    assert [piece async for piece in response.body] == [b"tea"]


async def test_further_arguments_with_defaults_belong_to_the_handler() -> None:
    async def handler(order: Order, tax: int = 7) -> int:
        return tax

    assert await answer(handler, {"item": "tea"}) == 7


async def test_partials_methods_and_callable_objects_are_handlers() -> None:
    class Shop:
        async def sell(self, order: Order) -> str:
            return order.item

        async def __call__(self, event: LambdaEvent[Order]) -> str:
            return event.payload.item

    async def handler(shop: str, order: Order) -> str:
        return shop + order.item

    assert await answer(Shop().sell, {"item": "tea"}) == "tea"
    assert await answer(Shop(), {"item": "tea"}) == "tea"
    assert await answer(functools.partial(handler, "my "), {"item": "tea"}) == "my tea"


async def test_a_plain_wrapper_around_a_coroutine_function_is_awaited() -> None:
    async def handler(order: Order) -> str:
        return order.item

    @functools.wraps(handler)
    def wrapper(order: Order) -> Any:
        return handler(order)

    assert await answer(wrapper, {"item": "tea"}) == "tea"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"item": "tea", "count": "x"}', r"Expected `int`, got `str` - at `\$\.count`"),
        (b"{}", "missing required field `item`"),
        (b'{"item"', "truncated"),
        (b"\xff", "malformed"),
    ],
)
async def test_a_payload_that_does_not_fit_names_the_field(payload: bytes, message: str) -> None:
    async def handler(order: Order) -> None:
        raise AssertionError("never called")

    with pytest.raises(PayloadError, match=message) as caught:
        await answer(handler, payload)
    assert caught.value.error_type == "Runtime.UnmarshalError"


@pytest.mark.parametrize("result", [object(), {1, object()}, Order, {object(): 1}], ids=type)
async def test_a_result_that_cannot_be_written_says_whose(result: object) -> None:
    async def handler(event: LambdaEvent[Any]) -> object:
        return result

    with pytest.raises(FunctionError, match=r"handler\(\) returned cannot be written as JSON") as caught:
        await answer(handler, {})
    assert caught.value.error_type == "Runtime.MarshalError"


def no_arguments() -> None: ...
def three(a: int, b: int, c: int) -> None: ...
def keyword(a: int, *, needed: int) -> None: ...
def both(event: LambdaEvent[int], context: LambdaContext) -> None: ...
def unknown(event: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point
def unreadable(event: LambdaEvent[threading_lock]) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point
def unreadable_class(event: Unreadable) -> None: ...
def generator(event: int) -> Any:
    yield 1


class Unreadable:
    def __init__(self, anything: object) -> None: ...


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (no_arguments, "takes other arguments"),
        (three, "takes other arguments"),
        (keyword, "takes other arguments"),
        (both, "drop the second argument"),
        (unknown, "cannot be evaluated"),
        (unreadable, "cannot be evaluated"),
        (unreadable_class, "Unreadable"),
        (generator, "plain generator"),
        ("text", "is no handler"),
    ],
)
async def test_what_is_no_handler_is_refused_before_anything_is_served(handler: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        service_fn(handler)


async def test_an_event_unpacks_and_needs_no_context() -> None:
    payload, context = LambdaEvent({"a": 1})
    assert payload == {"a": 1}
    assert context.remaining_time() == float("inf")
