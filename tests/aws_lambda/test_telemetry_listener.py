"""Deliveries of the platform: their statuses, kept connections, and records that come back as they came."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.aws_lambda.extensions import (
    InitReport,
    Report,
    RuntimeDone,
    TelemetryListener,
    TelemetryRecord,
    Tracing,
    encode_records,
    read_records,
)
from perdure.aws_lambda.extensions.listener import BODY_LIMIT
from perdure.aws_lambda.extensions.telemetry import _KINDS
from perdure.aws_lambda.failures import PayloadError
from tests.aws_lambda.extensions_server import Deliverer
from tests.aws_lambda.test_events import EXAMPLES, anything, objects

LINE = {"time": "2025-02-03T10:11:12.004Z", "type": "function", "record": "a line"}


class Collector:
    """A processor that keeps what it gets, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.lines: list[object] = []
        self.failures = 0
        self.busy = 0
        self.most_busy = 0

    async def __call__(self, records: Sequence[TelemetryRecord]) -> None:
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        await anyio.lowlevel.checkpoint()
        self.busy -= 1
        if self.failures:
            self.failures -= 1
            raise ValueError("no room")
        self.lines += [record.record for record in records]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Collector, TelemetryListener]]:
    collector = Collector()
    listener = TelemetryListener({"/telemetry": collector}, host="127.0.0.1")
    async with anyio.create_task_group() as tasks:
        await listener.start(tasks)
        yield collector, listener
        await listener.drain()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_one_connection_carries_many_deliveries() -> None:
    async with listening() as (collector, listener):
        deliverer = await Deliverer.connect(listener.port)
        for number in range(5):
            assert await deliverer.post([{**LINE, "record": str(number)}]) == (200, "")
        await deliverer.aclose()
    assert collector.lines == ["0", "1", "2", "3", "4"]


@pytest.mark.anyio
async def test_several_connections_are_served_and_one_delivery_at_a_time_is_processed() -> None:
    async with listening() as (collector, listener):
        deliverers = [await Deliverer.connect(listener.port) for _ in range(4)]
        async with anyio.create_task_group() as tasks:
            for deliverer in deliverers:
                tasks.start_soon(deliverer.post, [LINE])
        for deliverer in deliverers:
            await deliverer.aclose()
    assert (len(collector.lines), collector.most_busy) == (4, 1)


@pytest.mark.anyio
async def test_a_delivery_that_failed_is_to_be_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as (collector, listener):
        collector.failures = 2
        deliverer = await Deliverer.connect(listener.port)
        statuses = [(await deliverer.post([LINE]))[0] for _ in range(3)]
        await deliverer.aclose()
    assert statuses == [500, 500, 200]
    assert collector.lines == ["a line"]
    assert "a delivery of 1 records failed; the platform will send it again" in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "path", "method", "status"),
    [
        (b"{", "/telemetry", "POST", 400),
        (b"{}", "/telemetry", "POST", 400),
        (b'[{"type": "function"}]', "/telemetry", "POST", 400),
        (b"[]", "/elsewhere", "POST", 404),
        (b"[]", "/telemetry", "PUT", 405),
        (b"[]", "/telemetry?x=1", "POST", 200),
    ],
)
async def test_what_can_never_be_taken_is_refused_and_the_connection_goes_on(
    body: bytes, path: str, method: str, status: int
) -> None:
    async with listening() as (collector, listener):
        deliverer = await Deliverer.connect(listener.port)
        assert (await deliverer.post(body, path, method))[0] == status
        assert (await deliverer.post([LINE]))[0] == 200
        await deliverer.aclose()
    assert collector.lines == ["a line"]


@pytest.mark.anyio
async def test_a_delivery_that_is_too_large_is_refused_before_it_is_read_whole() -> None:
    async with listening() as (_, listener):
        deliverer = await Deliverer.connect(listener.port)
        status, text = await deliverer.post(bytes(BODY_LIMIT + 1), size=2 * BODY_LIMIT)
        await deliverer.aclose()
    assert (status, text) == (413, "the delivery is too large")


@pytest.mark.anyio
async def test_what_is_no_http_is_answered_and_ends_its_connection_alone() -> None:
    async with listening() as (_, listener):
        stream = await anyio.connect_tcp("127.0.0.1", listener.port)
        async with stream:
            await stream.send(b"\x00\x01\x02 nonsense\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 400")
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        deliverer = await Deliverer.connect(listener.port)
        assert (await deliverer.post([LINE]))[0] == 200
        await deliverer.aclose()


@pytest.mark.anyio
async def test_a_connection_that_ends_in_the_middle_of_a_delivery_harms_nothing() -> None:
    async with listening() as (collector, listener):
        stream = await anyio.connect_tcp("127.0.0.1", listener.port)
        await stream.send(b"POST /telemetry HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[")
        await stream.aclose()
        deliverer = await Deliverer.connect(listener.port)
        assert (await deliverer.post([LINE]))[0] == 200
        await deliverer.aclose()
    assert collector.lines == ["a line"]


# --- records ---------------------------------------------------------------------------------------------------------

REPORT = {
    "time": "2025-02-03T10:11:12.004Z",
    "type": "platform.report",
    "record": {
        "requestId": "r-1",
        "status": "success",
        "metrics": {
            "durationMs": 101.5,
            "billedDurationMs": 102,
            "memorySizeMB": 128,
            "maxMemoryUsedMB": 61,
            "initDurationMs": 116.67,
        },
        "spans": [{"name": "responseLatency", "start": "2025-02-03T10:11:12.001Z", "durationMs": 1}],
        "tracing": {"spanId": "54565fb41ac79632", "type": "X-Amzn-Trace-Id", "value": "Root=1-62e9"},
        "newMetric": 3,
    },
}


def test_a_record_is_read_as_the_class_of_its_type() -> None:
    [record] = read_records(json.dumps([REPORT]).encode())
    assert isinstance(record.record, Report)
    assert record.record.metrics.billed_duration_ms == 102
    assert record.record.tracing == Tracing(span_id="54565fb41ac79632", type="X-Amzn-Trace-Id", value="Root=1-62e9")
    assert record.record.extra == {"newMetric": 3}
    assert record.logged_at.microsecond == 4000


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("platform.initReport", {"initializationType": "snap-start", "metrics": {"durationMs": 1}}, InitReport),
        ("platform.runtimeDone", {"requestId": "r", "status": "timeout"}, RuntimeDone),
        ("platform.fault", "RequestId: r Process exited", str),
        ("platform.new", {"a": 1}, dict),
        ("platform.runtimeDone", {"status": "no request id"}, dict),
        ("extension", "a line", str),
        ("function", {"level": "INFO"}, dict),
    ],
)
def test_what_is_unknown_is_left_as_it_came(kind: str, fields: object, expected: type) -> None:
    [record] = read_records(json.dumps([{"time": "t", "type": kind, "record": fields}]).encode())
    assert type(record.record) is expected


records = st.one_of(
    *(
        st.fixed_dictionaries({"time": st.text(), "type": st.just(kind), "record": objects(cls)})
        for kind, cls in _KINDS.items()
    ),
    st.fixed_dictionaries({"time": st.text(), "type": st.sampled_from(["function", "x"]), "record": anything}),
)


@settings(max_examples=5 * EXAMPLES)
@given(st.lists(records, max_size=3))
def test_records_come_back_as_they_came(delivery: list[dict[str, Any]]) -> None:
    assert json.loads(encode_records(read_records(json.dumps(delivery).encode()))) == delivery


def test_a_delivery_that_is_no_list_of_records_is_told() -> None:
    with pytest.raises(PayloadError, match=r"a delivery of telemetry does not fit .* missing required field `record`"):
        read_records(b'[{"time": "t", "type": "function"}]')
