"""What the server relies upon in hypercorn and h2 beyond their documented interfaces, each by name.

A test here that fails after an upgrade says which module of `perdure.server` has to change with it.
"""

from __future__ import annotations

import inspect

import h2.connection
from h2.frame_buffer import FrameBuffer
from hypercorn.config import Config
from hypercorn.protocol import events
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.utils import filter_pseudo_headers


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_connections_and_streams_are_made_as_before() -> None:
    shared = ["app", "config", "context", "task_group"]
    assert parameters(HTTPStream) == [*shared, "ssl", "client", "server", "send", "stream_id"]
    assert parameters(H11Protocol) == [*shared, "connection_state", "ssl", "client", "server", "send"]


def test_streams_are_told_by_the_same_events() -> None:
    assert parameters(events.Request) == ["stream_id", "headers", "http_version", "method", "raw_path", "state"]
    for kind in (events.EndBody, events.StreamClosed):
        assert parameters(kind) == ["stream_id"]
    assert parameters(events.Body) == ["stream_id", "data"]
    assert parameters(events.Response) == ["stream_id", "headers", "status_code"]


def test_http1_hands_over_to_http2_as_before() -> None:
    assert H2ProtocolAssumedError(b"data").data == b"data"
    assert parameters(H2CProtocolRequiredError) == ["data", "request"]


def test_the_configuration_is_read_by_the_same_names() -> None:
    for name in ("errorlog", "accesslog", "h11_max_incomplete_size", "keep_alive_max_requests", "root_path"):
        assert hasattr(Config, name)
    assert parameters(Config.response_headers) == ["self", "protocol"]


def test_the_authority_becomes_the_host() -> None:
    assert filter_pseudo_headers([(b":method", b"GET"), (b":authority", b"x"), (b"a", b"b")]) == [
        (b"host", b"x"),
        (b"a", b"b"),
    ]


def test_h2_has_the_hooks_that_are_overridden() -> None:
    assert parameters(h2.connection.H2Connection._receive_goaway_frame) == ["self", "frame"]
    assert parameters(h2.connection.H2Connection.clear_outbound_data_buffer) == ["self"]
    assert isinstance(FrameBuffer(server=True)._data, bytearray)
    assert h2.connection.H2Connection.MAX_CLOSED_STREAMS > 0
