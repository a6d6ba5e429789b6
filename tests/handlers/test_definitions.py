from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import pytest

from perdure.durable.codec import Serdes
from perdure.durable.serde import Serde, serde_for
from perdure.exceptions import UsageError
from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.definitions import (
    Definition,
    HandlerKind,
    InputlessObjectHandler,
    InputlessServiceHandler,
    ObjectHandler,
    Service,
    ServiceHandler,
    VirtualObject,
    Workflow,
)
from perdure.handlers.options import Options
from perdure.machine.retry import RetryPolicy
from perdure.wire.manifest import ServiceType

if TYPE_CHECKING:
    from fractions import Fraction

    from perdure.handlers.context import ObjectContext as OnlyForCheckers

T = TypeVar("T")
SERDES = Serdes()


@dataclass
class Order:
    sku: str


@pytest.fixture
def shop() -> Service:
    return Service("Shop")


@pytest.fixture
def stock() -> VirtualObject:
    return VirtualObject("Stock")


@pytest.fixture
def approval() -> Workflow:
    return Workflow("Approval")


def no_context() -> Any:
    return cast("Any", object())


# --- what a decorator makes


def test_a_bare_decorator_registers_a_function_under_its_name(shop: Service) -> None:
    @shop.handler
    async def checkout(ctx: Context, order: Order) -> str:
        """Buy it."""
        return order.sku

    assert isinstance(checkout, ServiceHandler)
    assert dict(shop.handlers) == {"checkout": checkout}
    assert checkout.service is shop
    assert checkout.path == "Shop/checkout"
    assert checkout.takes_input
    assert repr(checkout) == "<ServiceHandler Shop/checkout>"


def test_a_decorator_takes_name_and_options(shop: Service) -> None:
    @shop.handler(name="buy", ingress_private=True, retry=RetryPolicy(max_attempts=2))
    async def checkout(ctx: Context) -> None: ...

    assert checkout.name == "buy"
    assert checkout.options == Options(ingress_private=True, retry=RetryPolicy(max_attempts=2))
    assert shop.handlers["buy"] is checkout


def test_a_decorator_takes_an_options_object_that_keywords_stand_over(shop: Service) -> None:
    @shop.handler(options=Options(ingress_private=True, abort_timeout=5), abort_timeout=6)
    async def checkout(ctx: Context) -> None: ...

    assert checkout.options == Options(ingress_private=True, abort_timeout=6)


def test_a_handler_without_input_has_a_form_of_its_own(shop: Service, stock: VirtualObject) -> None:
    @shop.handler
    async def ping(ctx: Context) -> None: ...

    @stock.handler
    async def refill(ctx: ObjectContext) -> None: ...

    assert isinstance(ping, InputlessServiceHandler)
    assert isinstance(refill, InputlessObjectHandler)
    assert not ping.takes_input
    assert not refill.takes_input


def test_kinds_follow_the_decorator(stock: VirtualObject, approval: Workflow) -> None:
    @stock.handler
    async def reserve(ctx: ObjectContext, count: int) -> None: ...

    @stock.shared
    async def left(ctx: SharedObjectContext) -> int:
        return 0

    @approval.main
    async def decide(ctx: WorkflowContext, order: Order) -> bool:
        return True

    @approval.handler
    async def answer(ctx: SharedWorkflowContext, yes: bool) -> None: ...

    assert isinstance(reserve, ObjectHandler)
    assert [handler.kind for handler in (reserve, left, decide, answer)] == [
        HandlerKind.EXCLUSIVE,
        HandlerKind.SHARED,
        HandlerKind.MAIN,
        HandlerKind.BESIDE_MAIN,
    ]
    assert all(handler.kind.keyed for handler in (reserve, left, decide, answer))
    assert not HandlerKind.SERVICE.keyed


def test_a_handler_looks_like_its_function(shop: Service) -> None:
    @shop.handler
    async def checkout(ctx: Context, order: Order) -> str:
        """Buy it."""
        return order.sku

    assert checkout.__name__ == "checkout"  # type: ignore[attr-defined]  # set at run time
    assert checkout.__doc__ == "Buy it."
    assert checkout.__module__ == __name__
    assert list(inspect.signature(checkout).parameters) == ["ctx", "order"]


@pytest.mark.anyio
async def test_a_handler_can_be_called_with_a_context_of_ones_own(shop: Service, stock: VirtualObject) -> None:
    @shop.handler
    async def checkout(ctx: Context, order: Order) -> tuple[Any, str]:
        return ctx, order.sku

    @shop.handler
    async def ping(ctx: Context) -> Any:
        return ctx

    @stock.handler
    async def reserve(ctx: ObjectContext, count: int) -> tuple[Any, int]:
        return ctx, count

    @stock.shared
    async def left(ctx: SharedObjectContext) -> Any:
        return ctx

    ctx = no_context()
    assert await checkout(ctx, Order("apple")) == (ctx, "apple")
    assert await ping(ctx) is ctx
    assert await reserve(ctx, 3) == (ctx, 3)
    assert await left(ctx) is ctx


@pytest.mark.anyio
async def test_methods_and_partials_of_async_functions_can_be_handlers(shop: Service) -> None:
    class Till:
        async def pay(self, ctx: Context, cents: int) -> tuple[Any, int]:
            return self, cents

    async def scale(factor: int, ctx: Context, value: int) -> int:
        return factor * value

    till = Till()
    pay = shop.handler(till.pay)
    twice: Any = functools.partial(scale, 2)
    double = shop.handler(name="double")(twice)
    assert await pay(no_context(), 5) == (till, 5)
    assert await double.fn(no_context(), 5) == 10
    assert pay.input_serde(SERDES) is serde_for(int)
    assert double.output_serde(SERDES) is serde_for(int)


def test_a_decorated_function_keeps_the_types_of_what_it_wraps(shop: Service) -> None:
    def logged(fn: Callable[[Context, Order], Awaitable[str]]) -> Callable[[Context, Order], Any]:
        @functools.wraps(fn)
        async def wrapper(ctx: Context, order: Order) -> Any:
            return await fn(ctx, order)

        return wrapper

    @shop.handler
    @logged
    async def checkout(ctx: Context, order: Order) -> str:
        return order.sku

    assert checkout.input_serde(SERDES) is serde_for(Order)
    assert checkout.output_serde(SERDES) is serde_for(str)


# --- types of input and output


def test_annotations_choose_the_serdes(shop: Service) -> None:
    @shop.handler
    async def checkout(ctx: Context, order: Order) -> list[str]:
        return []

    @shop.handler
    async def ping(ctx: Context) -> None: ...

    @shop.handler
    async def untyped(ctx, anything):  # type: ignore[no-untyped-def]
        return anything

    assert checkout.input_serde(SERDES) is serde_for(Order)
    assert checkout.output_serde(SERDES) is serde_for(list[str])
    assert ping.input_serde(SERDES) is serde_for(None)
    assert ping.output_serde(SERDES) is serde_for(None)
    assert checkout.input_serde(SERDES) is checkout.input_serde(SERDES)
    assert untyped.input_serde(SERDES) is serde_for(Any)
    assert untyped.output_serde(SERDES) is serde_for(Any)


def test_a_type_local_to_the_function_around_is_found(shop: Service) -> None:
    @dataclass
    class Local:
        count: int

    @shop.handler
    async def take(ctx: Context, local: Local) -> list[Local]:
        return [local]

    assert take.input_serde(SERDES).decode(b'{"count":1}') == Local(1)


def test_a_type_that_the_module_defines_further_down_is_found(shop: Service) -> None:
    @shop.handler
    async def take(ctx: Context, later: DefinedFurtherDown) -> None: ...

    assert take.input_serde(SERDES).decode(b'{"count":1}') == DefinedFurtherDown(1)


@dataclass
class DefinedFurtherDown:
    count: int


def test_a_type_that_only_checkers_know_is_told_when_it_is_needed(shop: Service) -> None:
    @shop.handler
    async def take(ctx: Context, part: Fraction) -> int:
        return 1

    assert take.output_serde(SERDES) is serde_for(int)
    with pytest.raises(UsageError, match=r"Shop/take: the input is annotated 'Fraction', which cannot be evaluated"):
        take.input_serde(SERDES)


def test_annotations_that_are_no_text_are_taken_as_they_are(shop: Service) -> None:
    async def take(ctx: Any, order: Any) -> Any: ...

    take.__annotations__ = {"ctx": Context, "order": Order, "return": list[int]}
    handler = shop.handler(take)
    assert handler.input_serde(SERDES) is serde_for(Order)
    assert handler.output_serde(SERDES) is serde_for(list[int])


class Text(Serde[str]):
    content_type = "text/plain"

    def encode(self, value: str, /) -> bytes:
        return value.encode()

    def decode(self, data: bytes, /) -> str:
        return data.decode()


def test_serdes_of_the_user_stand_in_place_of_those_of_the_annotations(shop: Service) -> None:
    text = Text()

    @shop.handler(input=text, output=text)
    async def echo(ctx: Context, words: str) -> str:
        return words

    assert echo.input_serde(SERDES) is text
    assert echo.output_serde(SERDES) is text


# --- what cannot be a handler


class Generator(Generic[T]):
    pass


def plain(ctx: Context, order: Order) -> str:
    return ""


async def generator(ctx: Context) -> AsyncIterator[int]:
    yield 1


async def with_default(ctx: Context, order: Order = Order("apple")) -> None: ...  # noqa: B008 - that is the point


async def context_with_default(ctx: Context | None = None) -> None: ...


async def two_inputs(ctx: Context, first: int, second: int) -> None: ...


async def nothing_at_all() -> None: ...


async def any_number(ctx: Context, *orders: Order) -> None: ...


async def any_names(ctx: Context, **orders: Order) -> None: ...


async def named_only(ctx: Context, *, order: Order) -> None: ...


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (plain, r"Shop/plain: a handler is an `async def` function, and plain\(\) \(.*:\d+\) is not one"),
        (generator, "Shop/generator: a handler is an `async def` function"),
        (len, "Shop/len: a handler is an `async def` function, and len is not one"),
        (5, "a handler is an `async def` function, and 5 is not one"),
        (with_default, "Shop/with_default: `order` has a default"),
        (context_with_default, "`ctx` has a default"),
        (
            two_inputs,
            r"at most one input, not 3 parameters \(ctx, first, second\). Put several values into one dataclass",
        ),
        (nothing_at_all, r"at most one input, not 0 parameters \(none\)"),
        (any_number, r"as plain parameters; `\*orders: 'Order'` is not one"),
        (any_names, r"as plain parameters; `\*\*orders: 'Order'` is not one"),
        (named_only, "as plain parameters; `order: 'Order'` is not one"),
    ],
    ids=str,
)
def test_a_function_of_another_shape_is_refused(shop: Service, fn: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        shop.handler(fn)
    assert not shop.handlers


async def wants_context(ctx: Context) -> None: ...


async def wants_object(ctx: ObjectContext) -> None: ...


async def wants_shared_object(ctx: SharedObjectContext) -> None: ...


async def wants_workflow(ctx: WorkflowContext) -> None: ...


async def wants_shared_workflow(ctx: SharedWorkflowContext) -> None: ...


async def wants_anything(ctx: Any) -> None: ...


async def wants_object_for_checkers_only(ctx: OnlyForCheckers) -> None: ...


WANTING = (wants_context, wants_object, wants_shared_object, wants_workflow, wants_shared_workflow, wants_anything)


@pytest.mark.parametrize(
    ("definition", "decorator", "accepted"),
    [
        (Service, "handler", {wants_context, wants_anything}),
        (VirtualObject, "handler", {wants_context, wants_shared_object, wants_object, wants_anything}),
        (VirtualObject, "shared", {wants_context, wants_shared_object, wants_anything}),
        (Workflow, "main", {wants_context, wants_shared_workflow, wants_workflow, wants_anything}),
        (Workflow, "handler", {wants_context, wants_shared_workflow, wants_anything}),
    ],
)
def test_a_handler_may_ask_for_less_than_its_context_and_not_for_more(
    definition: type[Definition], decorator: str, accepted: set[Any]
) -> None:
    for fn in WANTING:
        register = getattr(definition("Name"), decorator)
        if fn in accepted:
            register(fn)
        else:
            with pytest.raises(UsageError, match=r"Name/\w+: .* gets `\w+`, and \w+\(\) .* asks for `\w+`"):
                register(fn)


def test_a_context_that_is_imported_for_checkers_only_is_known_by_its_name(stock: VirtualObject) -> None:
    async def wants(ctx: Any) -> None: ...

    wants.__annotations__["ctx"] = "perdure_for_checkers.ObjectContext"
    with pytest.raises(UsageError, match="asks for `ObjectContext`"):
        stock.shared(wants)
    stock.handler(wants)


def test_an_annotation_of_another_name_is_not_judged(stock: VirtualObject) -> None:
    stock.shared(cast("Any", wants_object_for_checkers_only))
    assert list(stock.handlers) == ["wants_object_for_checkers_only"]


def test_two_handlers_of_one_name_are_refused(shop: Service) -> None:
    shop.handler(wants_context)
    with pytest.raises(UsageError, match="Shop/wants_context is defined twice"):
        shop.handler(wants_context)


def test_a_name_that_a_server_would_refuse_is_refused(shop: Service) -> None:
    with pytest.raises(UsageError, match=r"'a\.b' cannot name a handler"):
        shop.handler(name="a.b")(wants_context)
    with pytest.raises(UsageError, match="'<lambda>' cannot name a handler"):
        shop.handler(name="<lambda>")(wants_context)


@pytest.mark.parametrize("name", ["restate.Shop", "OpenAPI", "", "1st", "a/b"])
def test_a_service_whose_name_a_server_would_refuse_is_refused(name: str) -> None:
    for definition in (Service, VirtualObject, Workflow):
        with pytest.raises(UsageError, match="cannot name a service"):
            definition(name)


def test_a_service_needs_a_name() -> None:
    with pytest.raises(UsageError, match=r"a virtual object needs a name, as in VirtualObject\('Shop'\), not 5"):
        VirtualObject(5)  # type: ignore[arg-type]  # that is the point


def test_a_handler_is_not_registered_twice_by_its_object(shop: Service) -> None:
    handler = shop.handler(wants_context)
    with pytest.raises(UsageError, match="is a handler already"):
        shop.handler(handler)
    assert Service("Other").handler(handler.fn).path == "Other/wants_context"


def test_options_and_function_are_not_given_at_once(shop: Service) -> None:
    with pytest.raises(UsageError, match=r"as in @shop.handler\(name=...\)"):
        shop.handler(wants_context, name="x")  # type: ignore[call-overload]  # that is the point


def test_a_workflow_has_one_main_handler(approval: Workflow) -> None:
    approval.main(wants_context)
    with pytest.raises(UsageError, match="Approval has a main handler already"):
        approval.main(wants_workflow)


# --- options


def test_options_of_a_service_are_given_as_object_keywords_or_both() -> None:
    service = Service("Shop", options=Options(abort_timeout=5, ingress_private=True), abort_timeout=6)
    assert service.options == Options(abort_timeout=6, ingress_private=True)


def test_with_options_makes_another_service_with_the_same_handlers(shop: Service) -> None:
    handler = shop.handler(wants_context)
    private = shop.with_options(ingress_private=True)
    assert isinstance(private, Service)
    assert (private.name, private.type) == ("Shop", ServiceType.SERVICE)
    assert private.handlers["wants_context"] is handler
    assert private.options == Options(ingress_private=True)
    assert shop.options == Options()


def test_with_options_stands_over_what_the_service_said() -> None:
    stock = VirtualObject("Stock", lazy_state=True, abort_timeout=5)
    copy = stock.with_options(Options(abort_timeout=6), lazy_state=False)
    assert copy.options == Options(abort_timeout=6, lazy_state=False)


def test_handlers_registered_later_belong_to_the_copy_too(shop: Service) -> None:
    copy = shop.with_options(abort_timeout=5)
    handler = shop.handler(wants_context)
    assert copy.handlers == {"wants_context": handler}


def test_the_table_of_handlers_is_read_only(shop: Service) -> None:
    with pytest.raises(TypeError):
        shop.handlers["x"] = shop.handler(wants_context)  # type: ignore[index]  # that is the point


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Service("Shop", lazy_state=True), "Shop: lazy_state has no meaning for a service"),
        (lambda: Service("Shop").with_options(lazy_state=True), "Shop: lazy_state has no meaning"),
        (lambda: Service("Shop").handler(lazy_state=True)(wants_context), "lazy_state has no meaning"),
        (lambda: Service("Shop", workflow_retention=1), "workflow_retention is for workflows, and this is a service"),
        (lambda: VirtualObject("Stock", workflow_retention=1), "is for workflows, and this is a virtual object"),
        (
            lambda: Workflow("Flow").main(idempotency_retention=1)(wants_context),
            "Flow/wants_context: the main handler of a workflow runs once per key; say workflow_retention",
        ),
        (
            lambda: Workflow("Flow").handler(workflow_retention=1)(wants_context),
            "workflow_retention is for the workflow or its main handler, and this is a handler of a workflow",
        ),
        (lambda: Service("Shop").handler(inactivity=1)(wants_context), "there is no option 'inactivity'"),  # type: ignore[call-overload]  # that is the point
    ],
)
def test_options_that_have_no_meaning_there_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_retentions_of_a_workflow_may_be_said_where_they_mean_something() -> None:
    flow = Workflow("Flow", workflow_retention=1, idempotency_retention=2)
    flow.main(workflow_retention=3)(wants_workflow)
    flow.handler(idempotency_retention=4)(wants_context)
    assert list(flow.handlers) == ["wants_workflow", "wants_context"]


def test_a_definition_shows_its_handlers(shop: Service) -> None:
    shop.handler(wants_context)
    assert repr(shop) == "Service('Shop', handlers=['wants_context'])"


# --- requests


def test_a_call_as_data_says_who_is_called_with_what(stock: VirtualObject, shop: Service) -> None:
    @stock.handler
    async def reserve(ctx: ObjectContext, count: int) -> int:
        return count

    @shop.handler
    async def ping(ctx: Context) -> None: ...

    request = reserve.call_request(3, key="apple", headers={"a": "b"})
    assert (request.handler, request.arg, request.key, request.options) == (
        reserve,
        3,
        "apple",
        {"headers": {"a": "b"}},
    )
    sent = ping.send_request(delay=5)
    assert (sent.handler, sent.arg, sent.key, dict(sent.options)) == (ping, None, None, {"delay": 5})


def test_a_send_of_every_form_is_data_too(stock: VirtualObject, shop: Service) -> None:
    @stock.handler
    async def reserve(ctx: ObjectContext, count: int) -> int:
        return count

    @stock.handler
    async def refill(ctx: ObjectContext) -> None: ...

    @shop.handler
    async def checkout(ctx: Context, order: Order) -> None: ...

    assert reserve.send_request(3, key="apple", delay=1).options == {"delay": 1}
    assert refill.send_request(key="apple").key == "apple"
    assert refill.call_request(key="apple").arg is None
    assert checkout.send_request(Order("apple")).arg == Order("apple")
    assert checkout.call_request(Order("apple")).key is None


def test_options_that_a_call_does_not_have_are_refused(shop: Service) -> None:
    ping = shop.handler(wants_context)
    with pytest.raises(UsageError, match="Shop/wants_context has no option 'key'; there are cancel_on_exit, headers"):
        ping.call_request(key="apple")  # type: ignore[call-arg]  # that is the point
    with pytest.raises(UsageError, match="has no option 'delay'"):
        ping.call_request(delay=5)  # type: ignore[call-arg]  # that is the point


def test_a_key_is_text(stock: VirtualObject) -> None:
    refill = stock.handler(wants_object)
    with pytest.raises(UsageError, match="the key of Stock/wants_object is text, not 5"):
        refill.call_request(key=5)  # type: ignore[arg-type]  # that is the point


def test_a_call_without_a_key_where_one_is_needed_is_a_mistake_of_python(stock: VirtualObject) -> None:
    refill = stock.handler(wants_object)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'key'"):
        refill.call_request()  # type: ignore[call-arg]  # that is the point


def test_the_main_handler_of_a_workflow_takes_no_idempotency_key(approval: Workflow) -> None:
    decide = approval.main(wants_workflow)
    assert decide.call_request(key="order-1", idempotency_key=None).key == "order-1"
    with pytest.raises(UsageError, match="Approval/wants_workflow runs once per key"):
        decide.call_request(key="order-1", idempotency_key="x")
