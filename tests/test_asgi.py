"""An endpoint as an ASGI application, driven by hand-made scopes."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from nacl.signing import SigningKey

from perdure import Context, Endpoint, ObjectContext, Service, UsageError, VirtualObject, Workflow
from perdure.asgi import Endpoint as SameEndpoint
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.messages import (
    EndMessage,
    ErrorBehavior,
    ErrorMessage,
    Failure,
    InputCommand,
    Message,
    OutputCommand,
    ProposeRunCompletionMessage,
    RunCompletion,
    SleepCommand,
    SleepCompletion,
    StartMessage,
    SuspensionMessage,
    Value,
    Void,
)
from perdure.wire.versions import SDK_VERSION
from tests.durable.attempts import ticks
from tests.machine.peers import ID
from tests.wire.test_identity import public_key, signer, token

pytestmark = pytest.mark.anyio

V6 = b"application/vnd.restate.invocation.v6"
V7 = b"application/vnd.restate.invocation.v7"
SERVER = (b"x-restate-server", f"perdure/{SDK_VERSION}".encode())

greeter = Service("Greeter")
counter = VirtualObject("Counter")
waited: list[str] = []


@greeter.handler
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}"


@greeter.handler
async def nap(ctx: Context) -> str:
    try:
        await ctx.sleep(1)
    finally:
        waited.append("left")
    return "slept"


@greeter.handler
async def step(ctx: Context) -> int:
    return await ctx.run(one)


@greeter.handler
async def health(ctx: Context) -> str:
    return "fine, thank you"


@greeter.handler
async def discover(ctx: Context) -> str:
    return "found"


@counter.handler
async def add(ctx: ObjectContext, amount: int) -> Any:
    return [ctx.app, amount]


async def one() -> int:
    return 1


class Request:
    """One request to an ASGI application, and what it answers."""

    def __init__(
        self,
        path: str,
        *pieces: bytes,
        method: str = "POST",
        headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", V6),),
        http_version: str = "2",
        ends: bool = True,
        strict: bool = False,
    ) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": list(headers),
            "http_version": http_version,
        }
        self.strict = strict
        self.sent: list[dict[str, Any]] = []
        self.receives = 0
        self._change = anyio.Event()
        self._input: deque[dict[str, Any]] = deque()
        self._gone = False
        for piece in pieces:
            self.sends(piece)
        if ends:
            self.ends()

    # --- the client

    def sends(self, data: bytes) -> None:
        self._input.append({"type": "http.request", "body": data, "more_body": True})
        self._changed()

    def tells(self, *messages: Message) -> None:
        self.sends(encode_frames(messages))

    def ends(self) -> None:
        self._input.append({"type": "http.request", "body": b"", "more_body": False})
        self._changed()

    def disconnects(self) -> None:
        self._gone = True
        self._changed()

    async def hears(self, kind: type[Message], count: int = 1) -> None:
        """Wait for messages of a class."""
        with anyio.fail_after(5):
            while sum(isinstance(message, kind) for message in self.messages) < count:
                await self._change.wait()

    # --- the server

    def _changed(self) -> None:
        self._change.set()
        self._change = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        self.receives += 1
        while not self._input:
            if self._gone:
                return {"type": "http.disconnect"}
            await self._change.wait()
        return self._input.popleft()

    async def send(self, message: dict[str, Any]) -> None:
        if self._gone and self.strict:
            raise BrokenPipeError
        self.sent.append(message)
        self._changed()
        await anyio.lowlevel.checkpoint()

    async def __call__(self, app: Any) -> Request:
        with anyio.fail_after(5):
            await app(self.scope, self.receive, self.send)
        return self

    # --- the answer

    @property
    def status(self) -> int:
        (start,) = (message for message in self.sent if message["type"] == "http.response.start")
        return int(start["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def messages(self) -> list[Message]:
        decoder = Decoder()
        decoder.receive_data(self.body)
        return list(decoder.messages())

    @property
    def finished(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


def invocation(path: str, payload: bytes = b'"you"', *, key: str = "", **options: Any) -> Request:
    """An invocation with an empty journal."""
    start = StartMessage(ID, "inv_1", 1, key=key)
    return Request(path, encode_frames([start, InputCommand((), Value(payload))]), **options)


@pytest.fixture
def app() -> Endpoint:
    return Endpoint(greeter, counter)


# --- what is not an invocation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/restate/health", "/a/b/c/health"])
async def test_health_is_told_wherever_the_endpoint_is_mounted(app: Endpoint, path: str) -> None:
    answer = await Request(path, method="GET", headers=())(app)
    assert (answer.status, answer.body, answer.finished) == (200, b'{"status":"ok"}', True)
    assert answer.headers[b"content-length"] == b"15"


@pytest.mark.parametrize("name", ["health", "discover"])
@pytest.mark.parametrize("base", ["", "/mounted", "/health", "/discover"])
async def test_a_handler_may_have_the_name_of_a_path(app: Endpoint, name: str, base: str) -> None:
    answer = await invocation(f"{base}/invoke/Greeter/{name}")(app)
    expected = b'"fine, thank you"' if name == "health" else b'"found"'
    assert answer.messages == [OutputCommand(Value(expected)), EndMessage()]


@pytest.mark.parametrize("path", ["/", "", "/invoke", "/invoke/Greeter", "/discover/x", "/nothing", "/invoke/a/b/c/d"])
async def test_nothing_else_is_there(app: Endpoint, path: str) -> None:
    answer = await Request(path, method="GET")(app)
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == 404


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_discovery_answers_in_the_version_that_is_accepted(app: Endpoint, version: int) -> None:
    accept = f"application/vnd.restate.endpointmanifest.v{version}+json"
    answer = await Request("/discover", method="GET", headers=[(b"Accept", accept.encode())])(app)
    manifest = json.loads(answer.body)
    assert (answer.status, answer.headers[b"content-type"].decode()) == (200, accept)
    assert [service["name"] for service in manifest["services"]] == ["Greeter", "Counter"]
    assert manifest["protocolMode"] == "BIDI_STREAM"


async def test_discovery_takes_the_newest_version_of_several(app: Endpoint) -> None:
    accept = ", ".join(f"application/vnd.restate.endpointmanifest.v{version}+json" for version in (1, 3, 2))
    answer = await Request("/discover", method="GET", headers=[(b"accept", accept.encode())])(app)
    assert answer.headers[b"content-type"].endswith(b"v3+json")


async def test_discovery_over_http_1_tells_that_answers_follow_requests(app: Endpoint) -> None:
    answer = await Request("/discover", method="GET", headers=(), http_version="1.1")(app)
    assert json.loads(answer.body)["protocolMode"] == "REQUEST_RESPONSE"


async def test_discovery_in_an_unknown_version_is_415(app: Endpoint) -> None:
    accept = b"application/vnd.restate.endpointmanifest.v9+json"
    answer = await Request("/discover", method="GET", headers=[(b"accept", accept)])(app)
    assert answer.status == 415
    assert "v4" in json.loads(answer.body)["message"]


async def test_what_an_old_manifest_cannot_say_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    private = Service("Private", ingress_private=True)
    private.handler(name="greet")(greet.fn)
    accept = b"application/vnd.restate.endpointmanifest.v1+json"
    await Request("/discover", method="GET", headers=[(b"accept", accept)])(Endpoint(private))
    (record,) = (record for record in caplog.records if record.name == "perdure.endpoint")
    assert "manifests of version 1 at most" in record.message


async def test_a_manifest_that_cannot_be_made_is_500() -> None:
    answer = await Request("/discover", method="GET", headers=())(Endpoint(Workflow("NoMain")))
    assert answer.status == 500
    assert "NoMain has no main handler" in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/discover"), ("GET", "/invoke/Greeter/greet"), ("PUT", "/invoke/Greeter/greet")]
)
async def test_the_wrong_method_is_405(app: Endpoint, method: str, path: str) -> None:
    assert (await Request(path, method=method)(app)).status == 405


@pytest.mark.parametrize(("path", "what"), [("/invoke/Nobody/x", "service"), ("/invoke/Greeter/x", "handler")])
async def test_an_unknown_target_is_404_and_told_by_name(app: Endpoint, path: str, what: str) -> None:
    answer = await invocation(path)(app)
    assert answer.status == 404
    assert f"has no {what} {path.removeprefix('/invoke/')}" in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    "headers",
    [(), [(b"content-type", b"application/json")], [(b"content-type", b"application/vnd.restate.invocation.v4")]],
)
async def test_another_content_type_is_415(app: Endpoint, headers: Sequence[tuple[bytes, bytes]]) -> None:
    answer = await invocation("/invoke/Greeter/greet", headers=headers)(app)
    assert answer.status == 415
    assert "application/vnd.restate.invocation" in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/health", "GET"),
        ("/discover", "GET"),
        ("/discover", "POST"),
        ("/invoke/Greeter/greet", "POST"),
        ("/invoke/Nobody/x", "POST"),
        ("/nothing", "GET"),
    ],
)
async def test_every_answer_says_which_sdk_this_is(app: Endpoint, path: str, method: str) -> None:
    answer = await invocation(path, method=method)(app)
    assert answer.headers[SERVER[0]] == SERVER[1]


async def test_an_answer_to_a_refused_request_comes_before_the_end_of_the_request(app: Endpoint) -> None:
    request = invocation("/invoke/Nobody/x", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await ticks()
        assert request.status == 404
        assert not request.finished
        request.ends()
    assert request.finished


# --- invocations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["", "/restate", "/a/b"])
@pytest.mark.parametrize("version", [V6, V7])
async def test_an_invocation_is_answered_in_its_own_version(app: Endpoint, base: str, version: bytes) -> None:
    answer = await invocation(f"{base}/invoke/Greeter/greet", headers=[(b"Content-Type", version)])(app)
    assert (answer.status, answer.headers[b"content-type"], answer.finished) == (200, version, True)
    assert answer.messages == [OutputCommand(Value(b'"Hello you"')), EndMessage()]


async def test_no_piece_of_an_answer_is_empty_but_the_last(app: Endpoint) -> None:
    answer = await invocation("/invoke/Greeter/greet")(app)
    assert [bool(message["body"]) for message in answer.sent[1:]] == [True, False]
    assert [message["more_body"] for message in answer.sent[1:]] == [True, False]


async def test_over_http_2_request_and_answer_flow_at_the_same_time(app: Endpoint) -> None:
    request = invocation("/invoke/Greeter/nap", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await request.hears(SleepCommand)
        request.tells(SleepCompletion(1, Void()))
        await request.hears(EndMessage)
        assert not request.finished
        request.ends()
    assert request.finished


async def test_over_http_1_the_answer_begins_when_the_request_has_ended(app: Endpoint) -> None:
    request = invocation("/invoke/Greeter/greet", http_version="1.1", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await ticks()
        assert request.messages == []
        request.ends()
    assert request.messages == [OutputCommand(Value(b'"Hello you"')), EndMessage()]


async def test_over_http_1_a_wait_suspends(app: Endpoint) -> None:
    answer = await invocation("/invoke/Greeter/nap", http_version="1.1")(app)
    assert [type(message) for message in answer.messages] == [SleepCommand, SuspensionMessage]
    assert answer.finished


async def test_over_http_1_a_step_is_run_before_it_suspends(app: Endpoint) -> None:
    answer = await invocation("/invoke/Greeter/step", http_version="1.1")(app)
    assert [type(message).__name__ for message in answer.messages] == [
        "RunCommand",
        "ProposeRunCompletionMessage",
        "SuspensionMessage",
    ]


async def test_the_end_of_a_request_suspends_what_waits(app: Endpoint) -> None:
    request = invocation("/invoke/Greeter/nap", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await request.hears(SleepCommand)
        request.ends()
    assert isinstance(request.messages[-1], SuspensionMessage)
    assert request.finished


async def test_the_last_piece_of_a_request_may_carry_its_end(app: Endpoint) -> None:
    request = invocation("/invoke/Greeter/nap", ends=False)
    request._input[-1]["more_body"] = False
    await request(app)
    assert isinstance(request.messages[-1], SuspensionMessage)


async def test_a_request_may_come_in_any_pieces(app: Endpoint) -> None:
    data = encode_frames([StartMessage(ID, "inv_1", 1), InputCommand((), Value(b'"you"'))])
    answer = await Request("/invoke/Greeter/greet", *(data[i : i + 1] for i in range(len(data))))(app)
    assert answer.messages == [OutputCommand(Value(b'"Hello you"')), EndMessage()]


@pytest.mark.parametrize("version", [V6, V7])
async def test_garbage_is_answered_on_the_stream_and_leaves_others_alone(app: Endpoint, version: bytes) -> None:
    answer = await Request("/invoke/Greeter/greet", b"\xff" * 100, headers=[(b"content-type", version)])(app)
    (error,) = answer.messages
    assert isinstance(error, ErrorMessage)
    assert (answer.status, error.code, answer.finished) == (200, 571, True)
    assert error.behavior is (ErrorBehavior.PAUSE if version is V7 else ErrorBehavior.RETRY)
    assert (await invocation("/invoke/Greeter/greet")(app)).messages[-1] == EndMessage()


async def test_an_oversized_frame_is_refused_by_its_header(app: Endpoint) -> None:
    answer = await Request("/invoke/Greeter/greet", b"\x04\x00\x00\x00\xff\xff\xff\xff")(app)
    (error,) = answer.messages
    assert isinstance(error, ErrorMessage)
    assert "the limit is" in error.message


@pytest.mark.parametrize("length", [0, 5, 30])
async def test_a_request_that_ends_too_early_is_told(app: Endpoint, length: int) -> None:
    data = encode_frames([StartMessage(ID, "inv_1", 2), InputCommand((), Value(b'"you"'))])
    answer = await Request("/invoke/Greeter/greet", data[:length])(app)
    (error,) = answer.messages
    assert isinstance(error, ErrorMessage)
    assert error.code == 571


async def test_an_input_that_cannot_be_decoded_is_a_failure_with_400(app: Endpoint) -> None:
    answer = await invocation("/invoke/Greeter/greet", b"[1")(app)
    output = answer.messages[0]
    assert isinstance(output, OutputCommand)
    assert isinstance(output.result, Failure)
    assert output.result.code == 400


# --- a peer that goes ----------------------------------------------------------------------------------------------


async def test_a_disconnect_ends_what_waits_and_is_asked_for_once(app: Endpoint) -> None:
    waited.clear()
    request = invocation("/invoke/Greeter/nap", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await request.hears(SleepCommand)
        await ticks()
        receives = request.receives
        request.disconnects()
    assert waited == ["left"]
    assert request.receives == receives
    assert not request.finished


async def test_a_disconnect_before_the_journal_is_here_ends_the_request(app: Endpoint) -> None:
    request = Request("/invoke/Greeter/nap", b"\0", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await ticks()
        request.disconnects()
    assert request.messages == []
    assert request.receives <= 3


async def test_a_disconnect_after_the_output_is_no_trouble(app: Endpoint) -> None:
    request = invocation("/invoke/Greeter/greet", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await request.hears(EndMessage)
        request.disconnects()
    assert request.receives <= 4


@pytest.mark.parametrize("path", ["/invoke/Greeter/nap", "/health", "/invoke/Nobody/x"])
async def test_a_server_that_refuses_to_send_to_a_gone_peer_hears_no_error(app: Endpoint, path: str) -> None:
    request = invocation(path, ends=False, strict=True)
    request.disconnects()
    await request(app)
    assert request.sent == []


async def test_a_peer_that_goes_while_it_is_being_answered_ends_the_attempt(app: Endpoint) -> None:
    waited.clear()
    request = invocation("/invoke/Greeter/nap", ends=False, strict=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await request.hears(SleepCommand)
        request._gone = True  # nobody is told before the next send
        request.tells(SleepCompletion(1, Void()))
    assert waited == ["left"]


async def test_a_handler_that_is_interrupted_leaves_no_task_and_no_spin(app: Endpoint) -> None:
    request = invocation("/invoke/Greeter/step", ends=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request, app)
        await request.hears(ProposeRunCompletionMessage)
        request.disconnects()
    receives, sends = request.receives, len(request.sent)
    await ticks(100)
    assert (request.receives, len(request.sent)) == (receives, sends)


# --- identity ------------------------------------------------------------------------------------------------------


def signed(path: str) -> list[tuple[bytes, bytes]]:
    now = int(time.time())
    jwt = token(claims={"aud": path, "exp": now + 60, "iat": now, "nbf": now - 60}, sign=signer("pynacl"))
    return [
        (b"content-type", V6),
        (b"x-restate-signature-scheme", b"v1"),
        (b"x-restate-jwt-v1", jwt.encode()),
    ]


async def test_unsigned_requests_are_401_where_signatures_are_asked_for() -> None:
    app = Endpoint(greeter, identity_keys=[public_key()])
    for path, method in (("/discover", "GET"), ("/invoke/Greeter/greet", "POST"), ("/nothing", "GET")):
        answer = await invocation(path, method=method)(app)
        assert answer.status == 401
        assert answer.headers[SERVER[0]] == SERVER[1]


async def test_signed_requests_are_answered_below_a_path_too() -> None:
    app = Endpoint(greeter, identity_keys=[public_key()])
    for base in ("", "/mounted"):
        target = "/invoke/Greeter/greet"
        answer = await invocation(base + target, headers=signed(target))(app)
        assert answer.messages[-1] == EndMessage()


async def test_a_signature_for_another_target_is_401() -> None:
    app = Endpoint(greeter, identity_keys=[public_key()])
    answer = await invocation("/invoke/Greeter/nap", headers=signed("/invoke/Greeter/greet"))(app)
    assert answer.status == 401


async def test_a_signature_by_another_key_is_401() -> None:
    other = public_key(bytes(SigningKey(b"another seed of thirty-two bytes")))
    app = Endpoint(greeter, identity_keys=[other])
    answer = await invocation("/invoke/Greeter/greet", headers=signed("/invoke/Greeter/greet"))(app)
    assert answer.status == 401


async def test_health_needs_no_signature() -> None:
    app = Endpoint(greeter, identity_keys=[public_key()])
    assert (await Request("/health", method="GET", headers=())(app)).status == 200


async def test_a_handler_named_health_needs_a_signature() -> None:
    app = Endpoint(greeter, identity_keys=[public_key()])
    assert (await invocation("/invoke/Greeter/health")(app)).status == 401


# --- lifespan ------------------------------------------------------------------------------------------------------


class Lifespan:
    """The lifespan protocol, spoken by hand."""

    def __init__(self, app: Any, extensions: dict[str, Any] | None = None) -> None:
        self.app = app
        self.scope = {"type": "lifespan", "extensions": extensions or {}}
        self.sent: list[dict[str, Any]] = []
        self._messages = deque(["lifespan.startup"])
        self._change = anyio.Event()
        self.error: BaseException | None = None

    def shuts_down(self) -> None:
        self._messages.append("lifespan.shutdown")
        self._change.set()

    async def receive(self) -> dict[str, Any]:
        while not self._messages:
            await self._change.wait()
        return {"type": self._messages.popleft()}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def run(self) -> None:
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @property
    def kinds(self) -> list[str]:
        return [message["type"].removeprefix("lifespan.") for message in self.sent]


@asynccontextmanager
async def served(app: Any, **extensions: Any) -> AsyncIterator[Lifespan]:
    lifespan = Lifespan(app, extensions)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lifespan.run)
        await ticks()
        yield lifespan
        lifespan.shuts_down()


async def test_the_lifespan_is_entered_once_and_gives_the_app() -> None:
    moves: list[str] = []

    @asynccontextmanager
    async def lifespan(endpoint: SameEndpoint) -> AsyncIterator[str]:
        moves.append(f"in {endpoint}")
        yield "the app"
        moves.append("out")

    app = Endpoint(counter, lifespan=lifespan)
    async with served(app) as spoken:
        for _ in range(2):
            answer = await invocation("/invoke/Counter/add", b"1", key="k")(app)
            assert answer.messages[0] == OutputCommand(Value(b'["the app",1]'))
        assert moves == ["in Endpoint(Counter)"]
    assert moves == ["in Endpoint(Counter)", "out"]
    assert spoken.kinds == ["startup.complete", "shutdown.complete"]


async def test_an_endpoint_without_a_lifespan_takes_part_in_the_protocol(app: Endpoint) -> None:
    async with served(app) as spoken:
        assert (await invocation("/invoke/Greeter/greet")(app)).messages[-1] == EndMessage()
    assert spoken.kinds == ["startup.complete", "shutdown.complete"]
    assert (await invocation("/invoke/Greeter/greet")(app)).messages[-1] == EndMessage()


async def test_a_lifespan_that_nobody_entered_is_told() -> None:
    @asynccontextmanager
    async def lifespan(_: SameEndpoint) -> AsyncIterator[None]:
        yield

    app = Endpoint(greeter, lifespan=lifespan)
    with pytest.raises(UsageError, match="nobody entered it"):
        await invocation("/invoke/Greeter/greet")(app)
    async with served(app):
        pass
    with pytest.raises(UsageError, match="nobody entered it"):
        await invocation("/invoke/Greeter/greet")(app)


async def test_whoever_mounts_an_endpoint_enters_its_lifespan() -> None:
    @asynccontextmanager
    async def lifespan(_: SameEndpoint) -> AsyncIterator[str]:
        yield "mounted"

    app = Endpoint(counter, lifespan=lifespan)
    async with app.running() as yielded:
        answer = await invocation("/below/invoke/Counter/add", b"1", key="k")(app)
    assert (yielded, answer.messages[0]) == ("mounted", OutputCommand(Value(b'["mounted",1]')))


@pytest.mark.parametrize("when", ["startup", "shutdown"])
async def test_a_lifespan_that_fails_is_told_to_the_server_and_raised(when: str) -> None:
    @asynccontextmanager
    async def lifespan(_: SameEndpoint) -> AsyncIterator[None]:
        if when == "startup":
            raise ValueError("no database")
        yield
        raise ValueError("no database")

    async with served(Endpoint(greeter, lifespan=lifespan)) as spoken:
        pass
    assert spoken.kinds[-1] == f"{when}.failed"
    assert spoken.sent[-1]["message"] == "ValueError: no database"
    assert isinstance(spoken.error, ValueError)


async def test_a_failing_attempt_leaves_the_lifespan_alone(app: Endpoint) -> None:
    async with served(app) as spoken:
        await Request("/invoke/Greeter/greet", b"\xff" * 100)(app)
        assert (await invocation("/invoke/Greeter/step", http_version="1.1")(app)).finished
        assert spoken.error is None


async def test_a_drain_suspends_what_waits_and_what_comes(app: Endpoint) -> None:
    draining = anyio.Event()
    async with served(app, **{"perdure.drain": {"draining": draining}}):
        request = invocation("/invoke/Greeter/nap", ends=False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request, app)
            await request.hears(SleepCommand)
            await ticks()
            draining.set()
            await request.hears(SuspensionMessage)
            request.ends()
        late = invocation("/invoke/Greeter/nap", ends=False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late, app)
            await late.hears(SuspensionMessage)
            late.ends()
    assert [type(message) for message in late.messages] == [SleepCommand, SuspensionMessage]


async def test_a_stored_step_after_a_drain_goes_on_elsewhere(app: Endpoint) -> None:
    draining = anyio.Event()
    async with served(app, **{"perdure.drain": {"draining": draining}}):
        draining.set()
        await ticks()
        request = invocation("/invoke/Greeter/step", ends=False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request, app)
            await request.hears(SuspensionMessage)
            request.tells(RunCompletion(1, Value(b"1")))
            request.ends()
    assert [type(message).__name__ for message in request.messages] == [
        "RunCommand",
        "ProposeRunCompletionMessage",
        "SuspensionMessage",
    ]


async def test_only_requests_and_lifespans_are_served(app: Endpoint) -> None:
    with pytest.raises(UsageError, match="answers HTTP requests, not websocket"):
        await app({"type": "websocket"}, None, None)  # type: ignore[arg-type]  # it must not get that far


def test_an_endpoint_names_its_services(app: Endpoint) -> None:
    assert repr(app) == "Endpoint(Greeter, Counter)"
