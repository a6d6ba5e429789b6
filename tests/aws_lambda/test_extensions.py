"""Extensions: registration, events, errors, subscriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from perdure.aws_lambda.extensions import (
    Buffering,
    Extension,
    ExtensionEvent,
    InvokeEvent,
    Registration,
    ShutdownEvent,
    Subscription,
    TelemetryRecord,
    UnknownExtensionEvent,
    run_extension,
)
from perdure.aws_lambda.extensions.registration import read_event
from perdure.aws_lambda.failures import RuntimeApiError
from perdure.exceptions import UsageError
from tests.aws_lambda.extensions_server import Deliverer, Platform, platform

pytestmark = pytest.mark.anyio

INVOKE: dict[str, Any] = {
    "eventType": "INVOKE",
    "deadlineMs": 1738577472004,
    "requestId": "r-1",
    "invokedFunctionArn": "arn:aws:lambda:eu-central-1:210987654321:function:books",
    "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1-67a0"},
}
SHUTDOWN: dict[str, Any] = {"eventType": "SHUTDOWN", "deadlineMs": 1738577474004, "shutdownReason": "SPINDOWN"}
LINE = {"time": "2025-02-03T10:11:12.004Z", "type": "function", "record": "a line"}


@asynccontextmanager
async def running(extension: Any, **options: Any) -> AsyncIterator[tuple[Platform, list[BaseException]]]:
    """A platform, and the extension in a task beside it; what it raised is collected."""
    raised: list[BaseException] = []

    async def run() -> None:
        async with found.client() as client:
            try:
                await run_extension(extension, client=client, **options)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                raised.append(error)

    async with platform() as found, anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield found, raised


async def test_an_extension_is_told_of_invocations_and_of_the_end() -> None:
    seen: list[ExtensionEvent] = []

    async def on_event(event: ExtensionEvent) -> None:
        seen.append(event)

    async with running(on_event) as (found, raised):
        found.give(**INVOKE)
        found.give(**SHUTDOWN)
    assert raised == []
    first, last = seen
    assert first == InvokeEvent(
        deadline_ms=1738577472004,
        request_id="r-1",
        invoked_function_arn="arn:aws:lambda:eu-central-1:210987654321:function:books",
        trace_id="Root=1-67a0",
    )
    assert last == ShutdownEvent(deadline_ms=1738577474004, reason="spindown")
    assert last.deadline is not None
    assert last.deadline.isoformat() == "2025-02-03T10:11:14.004000+00:00"


async def test_the_next_event_is_asked_for_when_the_last_one_is_dealt_with() -> None:
    go_on = anyio.Event()

    async def on_event(event: ExtensionEvent) -> None:
        if isinstance(event, InvokeEvent):
            await go_on.wait()

    async with running(on_event) as (found, _):
        found.give(**INVOKE)
        found.give(**SHUTDOWN)
        await anyio.wait_all_tasks_blocked()
        while "GET /2020-01-01/extension/event/next" not in found.calls:
            await anyio.wait_all_tasks_blocked()
        assert found.calls.count("GET /2020-01-01/extension/event/next") == 1
        go_on.set()
    assert found.calls.count("GET /2020-01-01/extension/event/next") == 2


async def test_registration_names_the_extension_and_tells_the_function() -> None:
    seen: list[Registration] = []

    async def before(registration: Registration) -> None:
        seen.append(registration)

    async with running(Extension(name="watcher", events=["SHUTDOWN"]), before=before) as (found, _):
        found.give(**SHUTDOWN)
    assert found.registered == ("watcher", ["SHUTDOWN"])
    assert seen == [
        Registration(
            identifier="id-1",
            function_name="books",
            function_version="7",
            handler="app.handler",
            account_id="210987654321",
        )
    ]


def test_the_name_of_an_extension_is_that_of_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/opt/extensions/watcher"])
    assert Extension().name == "watcher"


def test_an_extension_without_a_name_or_with_unknown_events_is_refused() -> None:
    with pytest.raises(UsageError, match="an extension needs a name"):
        Extension(name="")
    with pytest.raises(UsageError, match="there are no events RESTORE"):
        Extension(name="x", events=["RESTORE"])  # type: ignore[list-item] # the point of the test


async def test_a_refused_registration_says_what_the_platform_said() -> None:
    async with platform() as found, found.client() as client:
        found.refuse_registration = True
        with pytest.raises(RuntimeApiError, match=r"register the extension 'x' .*403 \(Extension.RegistrationClosed"):
            await run_extension(Extension(name="x"), client=client)


async def test_an_event_of_an_unknown_type_is_passed_on_whole() -> None:
    seen: list[ExtensionEvent] = []

    async def on_event(event: ExtensionEvent) -> None:
        seen.append(event)

    async with running(on_event) as (found, _):
        found.give(eventType="RESTORE", deadlineMs=1, new=[1])
        found.give(**SHUTDOWN)
    fields = {"eventType": "RESTORE", "deadlineMs": 1, "new": [1]}
    assert seen[0] == UnknownExtensionEvent(deadline_ms=1, event_type="RESTORE", fields=fields)


async def test_an_event_that_is_none_is_told() -> None:
    async with running(Extension(name="x")) as (found, raised):
        found.give(nothing=1)
    [error] = raised
    assert "the platform sent an event that is none" in str(error)


def test_an_event_without_a_trace_or_a_deadline_is_read() -> None:
    event = read_event(b'{"eventType": "INVOKE", "requestId": "r"}')
    assert event == InvokeEvent(request_id="r")
    assert event.deadline is None


# --- errors ----------------------------------------------------------------------------------------------------------


async def test_an_extension_that_fails_is_reported_as_an_exit_error_and_ends() -> None:
    async def on_event(event: ExtensionEvent) -> None:
        raise ValueError("cannot go on")

    async with running(on_event) as (found, raised):
        found.give(**INVOKE)
    [(when, header, body)] = found.reported
    assert (when, header, body["errorType"], body["errorMessage"]) == (
        "exit",
        "Function.ValueError",
        "ValueError",
        "cannot go on",
    )
    assert [type(error) for error in raised] == [ValueError]


async def test_an_extension_that_fails_before_its_first_event_is_reported_as_an_init_error() -> None:
    async def before(registration: Registration) -> None:
        raise ConnectionError("no collector")

    async with running(Extension(name="x"), before=before) as (found, raised):
        pass
    assert [(when, body["errorMessage"]) for when, _, body in found.reported] == [("init", "no collector")]
    assert [type(error) for error in raised] == [ConnectionError]
    assert not any("event/next" in call for call in found.calls)


async def test_a_subscription_that_is_refused_is_an_init_error() -> None:
    async with platform() as found, found.client() as client:
        found.schemas = {"1999-01-01"}
        extension = Extension(name="x", on_telemetry=ignore, host="127.0.0.1")
        with pytest.raises(RuntimeApiError, match=r"subscribe to telemetry .*400 \(ValidationError"):
            await run_extension(extension, client=client)
        assert [when for when, _, _ in found.reported] == ["init"]


async def test_a_port_that_is_taken_is_an_init_error() -> None:
    async with platform() as found, found.client() as client:
        port = int(found.address.rpartition(":")[2])
        with pytest.raises(OSError, match=r"ddress already in use|ind on address"):
            await run_extension(Extension(name="x", on_logs=ignore, host="127.0.0.1", port=port), client=client)
        assert [when for when, _, _ in found.reported] == ["init"]


# --- subscriptions ---------------------------------------------------------------------------------------------------


async def ignore(records: Sequence[TelemetryRecord]) -> None:
    del records


async def test_telemetry_and_logs_are_delivered_to_their_processors() -> None:
    seen: list[tuple[str, object]] = []

    async def keep(what: str, records: Sequence[TelemetryRecord]) -> None:
        seen.extend((what, record.record) for record in records)

    extension = Extension(
        name="x",
        on_telemetry=partial(keep, "telemetry"),
        on_logs=partial(keep, "logs"),
        telemetry=Subscription(types=["function"], buffering=Buffering(timeout_ms=25)),
        host="127.0.0.1",
    )
    async with running(extension) as (found, raised):
        while not any("event/next" in call for call in found.calls):
            await anyio.wait_all_tasks_blocked()
        assert found.port() == found.port("/2020-08-15/logs")
        deliverer = await Deliverer.connect(found.port())
        assert await deliverer.post([LINE]) == (200, "")
        assert await deliverer.post([{**LINE, "record": {"level": "INFO"}}], "/logs") == (200, "")
        await deliverer.aclose()
        found.give(**SHUTDOWN)
    assert raised == []
    assert seen == [("telemetry", "a line"), ("logs", {"level": "INFO"})]
    assert found.subscribed["/2022-07-01/telemetry"] == {
        "schemaVersion": "2025-01-29",
        "types": ["function"],
        "buffering": {"timeoutMs": 25, "maxBytes": 262_144, "maxItems": 10_000},
        "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{found.port()}/telemetry"},
    }
    assert found.subscribed["/2020-08-15/logs"]["schemaVersion"] == "2021-03-18"


async def test_an_older_version_of_telemetry_is_asked_for_when_the_best_is_unknown() -> None:
    async with platform() as found:
        found.schemas = {"2022-07-01"}
        found.give(**SHUTDOWN)
        async with found.client() as client:
            await run_extension(Extension(name="x", on_telemetry=ignore, host="127.0.0.1"), client=client)
    assert found.subscribed["/2022-07-01/telemetry"]["schemaVersion"] == "2022-07-01"


async def test_a_platform_without_telemetry_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with platform() as found:
        found.schemas = set()
        found.give(**SHUTDOWN)
        async with found.client() as client:
            await run_extension(Extension(name="x", on_telemetry=ignore, host="127.0.0.1"), client=client)
    assert "this platform sends no telemetry" in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"timeout_ms": 24}, "timeout_ms=24: the platform takes 25 to 30,000"),
        ({"timeout_ms": 30_001}, "timeout_ms=30001"),
        ({"max_bytes": 262_143}, "max_bytes=262143: the platform takes 262,144 to 1,048,576"),
        ({"max_bytes": 1_048_577}, "max_bytes=1048577"),
        ({"max_items": 999}, "max_items=999: the platform takes 1,000 to 10,000"),
        ({"max_items": 10_001}, "max_items=10001"),
    ],
)
def test_buffering_outside_of_what_the_platform_takes_is_refused(options: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Buffering(**options)


@pytest.mark.parametrize(
    "options",
    [{"timeout_ms": 25, "max_bytes": 262_144, "max_items": 1_000}, {"timeout_ms": 30_000, "max_bytes": 1_048_576}],
)
def test_buffering_at_the_limits_is_taken(options: dict[str, int]) -> None:
    assert set(Buffering(**options).to_dict()) == {"timeoutMs", "maxBytes", "maxItems"}
