"""The ingress of the engine: the same typed client, and the answers of restate-server byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

import perdure
from perdure import Context, ObjectContext, Service, TerminalError, VirtualObject, Workflow, WorkflowContext
from perdure.durable.combinators import Failed, Succeeded
from perdure.engine.ingress import Ingress
from perdure.exceptions import IngressError
from tests.server.serving import serving

pytestmark = pytest.mark.anyio

greeter = Service("Greeter")
counter = VirtualObject("Counter")
signup = Workflow("Signup")
private = Service("Private", ingress_private=True)


@greeter.handler
async def greet(ctx: Context, name: str) -> str:
    del ctx
    return f"Hello {name}"


@greeter.handler
async def nothing(ctx: Context) -> None:
    del ctx


@greeter.handler
async def raw(ctx: Context, body: bytes) -> bytes:
    del ctx
    return body[::-1]


@greeter.handler
async def seen(ctx: Context) -> dict[str, str]:
    return dict(ctx.headers)


@greeter.handler
async def fail(ctx: Context, code: int) -> None:
    raise TerminalError("terminal!", code=code, metadata={"why": "test"})


@greeter.handler
async def wait(ctx: Context) -> str:
    answer = ctx.awakeable(str)
    ids.append(answer.id)
    return await answer


@counter.handler
async def add(ctx: ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", int) or 0) + amount
    ctx.set("total", total)
    return total


@signup.main
async def run(ctx: WorkflowContext, mail: str) -> str:
    del ctx
    return f"welcome {mail}"


@private.handler
async def secret(ctx: Context) -> None:
    del ctx


ids: list[str] = []
"""Awakeables that were made; only the test that waits looks at it."""

Ask = Callable[..., Any]


class Answered(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def ask(
    app: Ingress, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
) -> Answered:
    """One request through the application, without a server."""
    raw_path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": raw_path,
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    sent: list[Any] = []
    pieces = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if not pieces:
            await anyio.sleep_forever()
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    with anyio.fail_after(20):
        await app(scope, receive, send)
    start, end = sent
    return Answered(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, end["body"])


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[tuple[perdure.Engine, Ingress]]:
    ids.clear()
    async with perdure.open_engine(":memory:", perdure.Endpoint(greeter, counter, signup, private)) as engine:
        yield engine, Ingress(engine, **options)


JSON = [("content-type", "application/json")]


@asynccontextmanager
async def client() -> AsyncIterator[perdure.Client]:
    async with (
        opened() as (_, app),
        serving(app) as server,
        perdure.Client(f"http://127.0.0.1:{server.port}") as found,
    ):
        yield found


async def test_the_typed_client_works_as_on_restate_server() -> None:
    async with client() as found:
        assert await found.call(greet, "ada") == "Hello ada"
        assert [await found.call(add, 2, key="a b/ü"), await found.call(add, 3, key="a b/ü")] == [2, 5]
        sent = await found.send(greet, "bob", idempotency_key="k 1")
        assert sent.status == "Accepted"
        assert await sent.attach() == "Hello bob"
        assert await sent.output() == Succeeded("Hello bob")
        again = await found.send(greet, "eve", idempotency_key="k 1")
        assert (again.status, again.invocation_id) == ("PreviouslyAccepted", sent.invocation_id)
        assert await found.invocation(greet, idempotency_key="k 1").attach() == "Hello bob"
        later = await found.send(greet, "late", delay=3600)
        assert later.execution_time is not None
        assert await later.output() is None
        assert await found.call(run, "m", key="w") == "welcome m"
        assert await found.invocation(run, key="w").output() == Succeeded("welcome m")
        with pytest.raises(TerminalError, match="already invoked") as twice:
            await found.call(run, "m", key="w")
        assert twice.value.code == 409
        failed = await found.send(fail, 418)
        with pytest.raises(TerminalError) as caught:
            await failed.attach()
        assert caught.value == TerminalError("terminal!", code=418, metadata={"why": "test"})
        assert await failed.output() == Failed(caught.value)
        with pytest.raises(IngressError, match="not public"):
            await found.call(secret)
        assert await found.health() == ["Counter", "Greeter", "Signup"]


async def test_awakeables_are_completed_by_the_client() -> None:
    async with client() as found:
        sent = await found.send(wait)
        with anyio.fail_after(20):
            while not ids:
                await anyio.lowlevel.checkpoint()
        await found.resolve_awakeable(ids[0], "yes")
        assert await sent.attach() == "yes"
        refused = await found.send(wait)
        with anyio.fail_after(20):
            while len(ids) < 2:
                await anyio.lowlevel.checkpoint()
        await found.reject_awakeable(ids[-1], "no way")
        with pytest.raises(TerminalError, match="no way"):
            await refused.attach()


async def test_a_call_answers_with_the_value_and_its_invocation() -> None:
    async with opened() as (_, app):
        for path in ("/Greeter/greet", "/restate/call/Greeter/greet"):
            answer = await ask(app, "POST", path, b'"ada"', JSON)
            assert (answer.status, answer.json) == (200, "Hello ada")
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-restate-id"].startswith("inv_1")
            assert "x-restate-error-source" not in answer.headers
            assert "idempotency-expires" not in answer.headers


async def test_an_empty_result_has_no_content_type() -> None:
    async with opened() as (_, app):
        answer = await ask(app, "GET", "/Greeter/nothing")
        assert (answer.status, answer.body) == (200, b"")
        assert "content-type" not in answer.headers


async def test_a_result_from_the_store_says_how_long_it_is_kept() -> None:
    async with opened() as (_, app):
        headers = [*JSON, ("idempotency-key", "one")]
        first = await ask(app, "POST", "/Greeter/greet", b'"ada"', headers)
        second = await ask(app, "POST", "/Greeter/greet", b'"eve"', headers)
        assert second.body == first.body
        assert "idempotency-expires" not in first.headers
        assert second.headers["idempotency-expires"].endswith("+00:00")


async def test_a_send_answers_with_a_receipt() -> None:
    async with opened() as (_, app):
        answer = await ask(app, "POST", "/Greeter/greet/send?delay=PT2H", b'"ada"', JSON)
        assert answer.status == 202
        assert answer.json["status"] == "Accepted"
        assert answer.json["invocationId"] == answer.headers["x-restate-id"]
        assert answer.json["executionTime"].endswith("000000Z")


async def test_headers_reach_the_handler_but_for_those_of_the_connection() -> None:
    async with opened() as (_, app):
        headers = [("host", "x"), ("x-mine", "1"), ("idempotency-key", "k"), ("connection", "close")]
        answer = await ask(app, "GET", "/Greeter/seen?a=b", b"", headers)
        assert answer.json == {"x-restate-ingress-path": "/Greeter/seen?a=b", "x-mine": "1"}


@pytest.mark.parametrize(("code", "status"), [(409, 409), (571, 571), (999, 999), (7, 500), (100_000, 500)])
async def test_a_failure_has_the_status_of_its_code(code: int, status: int) -> None:
    async with opened() as (_, app):
        answer = await ask(app, "POST", "/Greeter/fail", str(code).encode(), JSON)
        assert answer.status == status
        expected = {"code": code, "message": "terminal!", "source": "invocation", "metadata": {"why": "test"}}
        assert answer.json == expected
        assert answer.headers["x-restate-error-source"] == "invocation"


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (("GET", "/Nobody/greet", b"", []), 404, "not found"),
        (("GET", "/Greeter/nobody", b"", []), 404, "no handler"),
        (("GET", "/Private/secret", b"", []), 400, "not public"),
        (("PUT", "/Greeter/greet", b'"a"', JSON), 405, "not by PUT"),
        (("POST", "/Greeter/greet", b"", JSON), 400, "needs a body"),
        (("POST", "/Greeter/greet", b"a", [("content-type", "text/plain")]), 400, "takes application/json"),
        (("POST", "/Greeter/greet", b'"a"', []), 400, "no content type"),
        (("POST", "/Greeter/greet?delay=1s", b'"a"', JSON), 400, "delay"),
        (("POST", "/Greeter/greet/send?delay=soon", b'"a"', JSON), 400, "bad delay"),
        (("POST", "/Signup/k/run", b'"a"', [*JSON, ("idempotency-key", "i")]), 400, "idempotency key"),
        (("POST", "/Greeter/greet", b'"' + b"a" * 200 + b'"', JSON), 413, "more than 100 bytes"),
        (("GET", "/restate/invocation/inv_1x/attach", b"", []), 400, "not an invocation id"),
        (("GET", "/restate/workflow/Greeter/k/attach", b"", []), 400, "no workflow"),
        (("GET", "/restate/workflow/Signup/k/attach", b"", []), 404, "no such invocation"),
        (("GET", "/restate/workflow/Signup/k/output", b"", []), 404, "no such invocation"),
        (("POST", "/restate/workflow/Signup/k/output", b"", []), 405, "not by POST"),
        (("POST", "/restate/awakeables/nonsense/resolve", b"", []), 400, "not an awakeable id"),
        (("POST", "/restate/attach", b"{}", []), 400, "names no invocation"),
    ],
)
async def test_what_the_ingress_refuses_is_told_as_its_own_error(
    request_: tuple[str, str, bytes, list[tuple[str, str]]], status: int, said: str
) -> None:
    async with opened(largest_body=100) as (_, app):
        answer = await ask(app, *request_)
        assert answer.status == status, answer
        assert answer.headers["x-restate-error-source"] == "ingress"
        assert (answer.json["code"], answer.json["source"]) == (status, "ingress")
        assert said in answer.json["message"]


async def test_an_output_that_is_not_there_yet_is_470() -> None:
    async with opened() as (_, app):
        sent = await ask(app, "POST", "/Greeter/wait/send")
        answer = await ask(app, "GET", f"/restate/output/{sent.json['invocationId']}")
        assert (answer.status, answer.json["source"]) == (470, "ingress")


async def test_lookup_computes_the_id_whether_there_is_one_or_not() -> None:
    async with opened() as (_, app):
        body = msgspec.json.encode({"target": "workflow", "workflowName": "Signup", "workflowKey": "k"})
        found = await ask(app, "POST", "/restate/lookup", body)
        sent = await ask(app, "POST", "/Signup/k/run/send", b'"m"', JSON)
        assert found.json == {"invocationId": sent.json["invocationId"]}


async def test_raw_bytes_travel_under_any_media_type() -> None:
    async with opened() as (_, app):
        answer = await ask(app, "POST", "/Greeter/raw", b"abc", [("content-type", "text/plain")])
        assert (answer.status, answer.body) == (200, b"cba")


async def test_pages_of_other_origins_may_ask() -> None:
    async with opened() as (_, app):
        asked = await ask(app, "OPTIONS", "/Greeter/greet", b"", [("origin", "http://ui")])
        assert asked.status == 200
        assert asked.headers["access-control-allow-origin"] == "http://ui"
        answer = await ask(app, "GET", "/restate/health", b"", [("origin", "http://ui")])
        assert answer.headers["access-control-allow-credentials"] == "true"


async def test_who_hangs_up_stops_waiting_and_nothing_else() -> None:
    async with opened() as (engine, app):
        hung_up = anyio.Event()
        pieces = [{"type": "http.request", "body": b"", "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if pieces:
                return pieces.pop(0)
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/Greeter/wait", "query_string": b"", "headers": []}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, scope, receive, send)
            with anyio.fail_after(20):
                while not ids:
                    await anyio.lowlevel.checkpoint()
            hung_up.set()
        assert sent == []
        await engine.resolve_awakeable(ids[0], "late")


async def test_after_the_end_of_the_engine_it_says_so() -> None:
    async with opened() as (_, app):
        pass
    answer = await ask(app, "POST", "/Greeter/greet", b'"ada"', JSON)
    assert answer.status == 503
