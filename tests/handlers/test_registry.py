from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure.durable.codec import PLAIN, CodedSerde
from perdure.durable.serde import Serde, serde_for
from perdure.exceptions import UsageError
from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.definitions import Service, VirtualObject, Workflow
from perdure.handlers.registry import ANY_ATTEMPTS, Registry
from perdure.machine.retry import LONGEST_DELAY, RetryPolicy
from perdure.wire import manifest as wire
from perdure.wire.manifest import HandlerManifest, LambdaCompression, OnMaxAttempts, OutputPayload, ProtocolMode


@dataclass
class Order:
    sku: str


class Zlib:
    content_type = "application/zlib"
    stable = True

    def encode(self, data: bytes, /) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes, /) -> bytes:
        return zlib.decompress(data)


class Other(Zlib):
    content_type = "application/other"


async def ping(ctx: Context) -> None: ...


async def echo(ctx: Context, data: bytes) -> bytes:
    return data


def describe(registry: Registry, handler: str, service: str = "Shop") -> HandlerManifest:
    manifest = registry.manifest(ProtocolMode.BIDI_STREAM)
    (found,) = (entry for entry in manifest.services if entry.name == service)
    (described,) = (entry for entry in found.handlers if entry.name == handler)
    return described


# --- looking up


def test_a_handler_is_found_by_the_names_of_service_and_handler() -> None:
    shop = Service("Shop")
    handler = shop.handler(echo)
    bound = Registry([shop]).lookup("Shop", "echo")
    assert bound is not None
    assert (bound.handler, bound.service) == (handler, shop)
    assert bound.input is bound.output is serde_for(bytes)
    assert repr(bound) == "<BoundHandler Shop/echo>"


def test_an_unknown_service_or_handler_is_none() -> None:
    shop = Service("Shop")
    shop.handler(echo)
    registry = Registry([shop])
    assert registry.lookup("Shop", "missing") is None
    assert registry.lookup("Missing", "echo") is None


def test_looking_up_twice_gives_the_same() -> None:
    shop = Service("Shop")
    shop.handler(echo)
    registry = Registry([shop])
    assert registry.lookup("Shop", "echo") is registry.lookup("Shop", "echo")


def test_a_handler_registered_after_the_endpoint_was_made_is_found() -> None:
    shop = Service("Shop")
    registry = Registry([shop])
    handler = shop.handler(echo)
    bound = registry.lookup("Shop", "echo")
    assert bound is not None
    assert bound.handler is handler
    assert describe(registry, "echo").name == "echo"


def test_services_are_listed_in_their_order() -> None:
    services = [Service("B"), VirtualObject("A"), Workflow("C")]
    assert list(Registry(services).services.values()) == services


def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two services of this endpoint are named 'Shop'"):
        Registry([Service("Shop"), VirtualObject("Shop")])


def test_a_handler_or_a_class_is_no_service() -> None:
    for wrong in (Service("Shop").handler(ping), Service, "Shop"):
        with pytest.raises(UsageError, match="an endpoint takes services, virtual objects and workflows, not"):
            Registry([wrong])  # type: ignore[list-item]  # that is the point


def test_a_type_that_cannot_be_written_is_told_when_the_endpoint_is_made() -> None:
    shop = Service("Shop")

    @shop.handler
    async def locate(ctx: Context, path: Path) -> None: ...

    with pytest.raises(UsageError, match="values of type Path cannot be written as JSON"):
        Registry([shop])


# --- levels of options


def test_options_of_the_handler_stand_over_those_of_the_service_over_those_of_the_endpoint() -> None:
    shop = Service("Shop", codec=Other(), abort_timeout=5)
    shop.handler(name="inner", codec=PLAIN, abort_timeout=6)(echo)
    shop.handler(name="middle")(echo)
    other = Service("Outer")
    other.handler(name="outer")(echo)
    registry = Registry([shop, other], codec=Zlib())
    found = [registry.lookup("Shop", "inner"), registry.lookup("Shop", "middle"), registry.lookup("Outer", "outer")]
    media_types = [bound.output.content_type for bound in found if bound is not None]
    timeouts = [bound.options.abort_timeout for bound in found if bound is not None]
    assert media_types == ["application/octet-stream", "application/other", "application/zlib"]
    assert timeouts == [6, 5, None]


def test_options_given_when_a_service_is_bound_count() -> None:
    shop = Service("Shop")
    shop.handler(echo)
    bound = Registry([shop.with_options(codec=Zlib())]).lookup("Shop", "echo")
    assert bound is not None
    assert bound.input.content_type == "application/zlib"


def test_a_factory_of_the_endpoint_chooses_serdes_also_for_state_and_steps() -> None:
    made = serde_for(str)
    shop = Service("Shop")
    shop.handler(echo)
    bound = Registry([shop], serde=lambda _: made).lookup("Shop", "echo")
    assert bound is not None
    assert bound.input is bound.output is bound.serdes.of(int) is made


def test_handlers_with_the_same_choices_share_their_serdes() -> None:
    shop = Service("Shop")
    shop.handler(name="a")(echo)
    shop.handler(name="b")(echo)
    registry = Registry([shop], codec=Zlib())
    first, second = registry.lookup("Shop", "a"), registry.lookup("Shop", "b")
    assert first is not None
    assert second is not None
    assert first.serdes is second.serdes


# --- calling


def test_a_handler_of_the_endpoint_is_called_as_it_is_offered() -> None:
    shop = Service("Shop")
    handler = shop.handler(echo)
    registry = Registry([shop.with_options(codec=Zlib())])
    assert registry.bound(handler) is registry.lookup("Shop", "echo")
    assert registry.bound(handler).input.content_type == "application/zlib"


def test_a_handler_of_another_program_has_its_own_options_and_the_endpoints_codec() -> None:
    other = Service("Other")
    handler = other.handler(echo)
    registry = Registry([], codec=Zlib())
    assert registry.bound(handler).input.content_type == "application/zlib"
    assert registry.bound(handler) is registry.bound(handler)
    assert registry.lookup("Other", "echo") is None


def test_a_handler_of_another_service_of_the_same_name_is_not_mixed_up() -> None:
    mine, theirs = Service("Shop"), Service("Shop", codec=Zlib())
    mine.handler(echo)
    handler = theirs.handler(echo)
    bound = Registry([mine]).bound(handler)
    assert bound.handler is handler
    assert bound.input.content_type == "application/zlib"


# --- manifest


def test_the_manifest_names_mode_versions_and_services() -> None:
    shop, stock, approval = Service("Shop"), VirtualObject("Stock"), Workflow("Approval")
    shop.handler(ping)

    @stock.handler
    async def reserve(ctx: ObjectContext, count: int) -> int:
        return count

    @stock.shared
    async def left(ctx: SharedObjectContext) -> int:
        return 0

    @approval.main
    async def decide(ctx: WorkflowContext) -> None: ...

    @approval.handler
    async def answer(ctx: SharedWorkflowContext, yes: bool) -> None: ...

    manifest = Registry([shop, stock, approval]).manifest(
        ProtocolMode.REQUEST_RESPONSE, lambda_compression=LambdaCompression.ZSTD
    )
    assert msgspec.json.decode(wire.encode(manifest, 4)) == {
        "protocolMode": "REQUEST_RESPONSE",
        "minProtocolVersion": 5,
        "maxProtocolVersion": 7,
        "lambdaCompression": "zstd",
        "services": [
            {
                "name": "Shop",
                "ty": "SERVICE",
                "handlers": [{"name": "ping", "input": {"contentType": "*/*"}, "output": {}}],
            },
            {
                "name": "Stock",
                "ty": "VIRTUAL_OBJECT",
                "handlers": [
                    {
                        "name": "reserve",
                        "ty": "EXCLUSIVE",
                        "input": {
                            "required": True,
                            "contentType": "application/json",
                            "jsonSchema": {"type": "integer"},
                        },
                        "output": {"contentType": "application/json", "jsonSchema": {"type": "integer"}},
                    },
                    {
                        "name": "left",
                        "ty": "SHARED",
                        "input": {"contentType": "*/*"},
                        "output": {"contentType": "application/json", "jsonSchema": {"type": "integer"}},
                    },
                ],
            },
            {
                "name": "Approval",
                "ty": "WORKFLOW",
                "handlers": [
                    {"name": "decide", "ty": "WORKFLOW", "input": {"contentType": "*/*"}, "output": {}},
                    {
                        "name": "answer",
                        "ty": "SHARED",
                        "input": {
                            "required": True,
                            "contentType": "application/json",
                            "jsonSchema": {"type": "boolean"},
                        },
                        "output": {},
                    },
                ],
            },
        ],
    }


def test_options_are_written_where_they_were_said_in_milliseconds() -> None:
    shop = VirtualObject(
        "Shop", inactivity_timeout=1.5, abort_timeout=0, lazy_state=True, documentation="a shop", metadata={"a": "b"}
    )
    shop.handler(journal_retention=0.0001, idempotency_retention=0.0004, ingress_private=False)(ping)
    (service,) = Registry([shop]).manifest(ProtocolMode.BIDI_STREAM).services
    (handler,) = service.handlers
    assert (service.inactivity_timeout, service.abort_timeout, service.enable_lazy_state) == (1500, 0, True)
    assert (service.documentation, service.metadata) == ("a shop", {"a": "b"})
    assert (handler.journal_retention, handler.idempotency_retention, handler.ingress_private) == (1, 1, False)
    assert handler.inactivity_timeout is None


def test_a_retry_policy_is_written_whole() -> None:
    shop = Service("Shop", retry=RetryPolicy(initial_interval=0.2, factor=3, max_interval=5, max_attempts=7))
    shop.handler(retry=RetryPolicy(max_interval=None, on_exhausted="pause"))(ping)
    (service,) = Registry([shop]).manifest(ProtocolMode.BIDI_STREAM).services
    assert (
        service.retry_policy_initial_interval,
        service.retry_policy_exponentiation_factor,
        service.retry_policy_max_interval,
        service.retry_policy_max_attempts,
        service.retry_policy_on_max_attempts,
    ) == (200, 3, 5000, 7, OnMaxAttempts.KILL)
    (handler,) = service.handlers
    assert handler.retry_policy_max_interval == LONGEST_DELAY * 1000
    assert handler.retry_policy_max_attempts == ANY_ATTEMPTS
    assert handler.retry_policy_on_max_attempts is OnMaxAttempts.PAUSE


def test_the_docstring_of_a_function_documents_its_handler() -> None:
    shop = Service("Shop")

    @shop.handler
    async def documented(ctx: Context) -> None:
        """Do it.

        Twice.
        """

    @shop.handler(documentation="said so")
    async def said(ctx: Context) -> None:
        """Not this."""

    registry = Registry([shop])
    assert describe(registry, "documented").documentation == "Do it.\n\nTwice."
    assert describe(registry, "said").documentation == "said so"


def test_a_workflow_without_a_main_handler_is_refused() -> None:
    flow = Workflow("Flow")
    flow.handler(ping)
    with pytest.raises(UsageError, match="workflow Flow has no main handler"):
        Registry([flow]).manifest(ProtocolMode.BIDI_STREAM)


def test_the_retention_of_a_workflow_is_that_of_its_main_handler() -> None:
    flow = Workflow("Flow", workflow_retention=60)
    flow.main(ping)
    flow.handler(name="beside")(ping)
    own = Workflow("Own", workflow_retention=60)
    own.main(workflow_retention=30)(ping)
    registry = Registry([flow.with_options(workflow_retention=90), own])
    assert describe(registry, "ping", "Flow").workflow_completion_retention == 90_000
    assert describe(registry, "beside", "Flow").workflow_completion_retention is None
    assert describe(registry, "ping", "Own").workflow_completion_retention == 30_000


def test_an_input_that_may_be_missing_is_not_required() -> None:
    shop = Service("Shop")

    @shop.handler
    async def maybe(ctx: Context, order: Order | None) -> Order | None:
        return order

    payload = describe(Registry([shop]), "maybe").input
    assert payload is not None
    assert (payload.required, payload.content_type) == (False, "application/json")


def test_raw_bytes_are_taken_whatever_their_media_type() -> None:
    shop = Service("Shop")
    shop.handler(echo)
    described = describe(Registry([shop]), "echo")
    assert described.input == wire.InputPayload(required=False, content_type="*/*")
    assert described.output == OutputPayload(content_type="application/octet-stream")


def test_an_input_of_nothing_is_not_looked_at() -> None:
    shop = Service("Shop")

    @shop.handler
    async def nothing(ctx: Context, ignored: None) -> None: ...

    assert describe(Registry([shop]), "nothing").input == wire.InputPayload(required=False, content_type="*/*")


def test_what_a_codec_changes_has_the_media_type_of_the_codec_and_no_schema() -> None:
    shop = Service("Shop")

    @shop.handler
    async def checkout(ctx: Context, order: Order) -> Order:
        return order

    described = describe(Registry([shop], codec=Zlib()), "checkout")
    assert described.input == wire.InputPayload(required=True, content_type="application/zlib")
    assert described.output == OutputPayload(content_type="application/zlib")


class Text(Serde[str]):
    content_type = "text/plain"

    def encode(self, value: str, /) -> bytes:
        return value.encode()

    def decode(self, data: bytes, /) -> str:
        return data.decode()


def test_serdes_of_a_handler_are_in_the_manifest_and_under_the_codec() -> None:
    shop = Service("Shop")

    @shop.handler(input=Text(), output=CodedSerde(Text(), PLAIN))
    async def speak(ctx: Context, words: str) -> str:
        return words

    described = describe(Registry([shop], codec=Zlib()), "speak")
    assert described.input is not None
    assert described.output is not None
    assert (described.input.content_type, described.output.content_type) == ("application/zlib", "text/plain")
    plain: Any = describe(Registry([shop]), "speak").input
    assert plain == wire.InputPayload(required=True, content_type="text/plain")


def test_an_endpoint_may_offer_nothing() -> None:
    assert Registry([]).manifest(ProtocolMode.BIDI_STREAM).services == ()
