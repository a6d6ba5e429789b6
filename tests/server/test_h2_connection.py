"""h2's connection as the server has it."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from perdure.server import Settings
from perdure.server.h2_connection import H2Connection

REQUEST = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/")]


def pair(settings: Settings | None = None) -> tuple[H2Connection, h2.connection.H2Connection]:
    """A server and a client that have greeted each other."""
    server = H2Connection(settings or Settings())
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server.initiate_connection()
    client.initiate_connection()
    pass_on(client, server)
    pass_on(server, client)
    pass_on(client, server)
    return server, client


def pass_on(source: h2.connection.H2Connection, target: h2.connection.H2Connection) -> list[h2.events.Event]:
    return target.receive_data(source.data_to_send())


def test_the_settings_reach_the_peer() -> None:
    _, client = pair(Settings(max_streams=7, stream_window=100_000, max_frame=20_000, max_headers=5_000))
    assert client.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 7
    assert client.remote_settings[SettingCodes.INITIAL_WINDOW_SIZE] == 100_000
    assert client.remote_settings[SettingCodes.MAX_FRAME_SIZE] == 20_000
    assert client.remote_settings[SettingCodes.MAX_HEADER_LIST_SIZE] == 5_000


def test_what_is_remembered_of_closed_streams_is_bounded() -> None:
    server, client = pair(Settings(remembered_streams=50))
    for _ in range(500):
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, REQUEST, end_stream=True)
        pass_on(client, server)
        server.send_headers(stream, [(":status", "200")], end_stream=True)
        pass_on(server, client)
    assert len(server._closed_streams) == 50
    assert len(server.streams) == 1  # the last one, until the next comes


def test_more_streams_than_the_settings_allow_are_for_the_server_to_refuse() -> None:
    server, client = pair(Settings(max_streams=1))
    client.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
    client.remote_settings.acknowledge()
    for stream in (1, 3, 5):
        client.send_headers(stream, REQUEST)
    requests = [event for event in pass_on(client, server) if isinstance(event, h2.events.RequestReceived)]
    assert [event.stream_id for event in requests] == [1, 3, 5]


def test_a_frame_that_announces_too_much_is_refused_before_it_has_come() -> None:
    server, client = pair(Settings(max_frame=16384))
    with pytest.raises(h2.exceptions.FrameTooLargeError):
        server.receive_data((16385).to_bytes(3, "big") + b"\x00\x00\x00\x00\x00\x01")
    (goaway,) = pass_on(server, client)
    assert isinstance(goaway, h2.events.ConnectionTerminated)
    assert goaway.error_code == ErrorCodes.FRAME_SIZE_ERROR


def test_frames_that_were_made_before_a_goaway_came_are_still_sent() -> None:
    server, client = pair()
    client.send_headers(1, REQUEST, end_stream=True)
    pass_on(client, server)
    server.send_headers(1, [(":status", "200")])
    server.receive_data(GoAwayFrame(0, last_stream_id=0, error_code=0).serialize())
    server.send_data(1, b"answer", end_stream=True)
    kinds = [type(event) for event in pass_on(server, client)]
    assert kinds[:2] == [h2.events.ResponseReceived, h2.events.DataReceived]


def test_a_goaway_with_an_error_is_the_end() -> None:
    server, client = pair()
    client.send_headers(1, REQUEST)
    pass_on(client, server)
    client.close_connection(ErrorCodes.INTERNAL_ERROR)
    pass_on(client, server)
    with pytest.raises(h2.exceptions.ProtocolError):
        server.send_headers(1, [(":status", "200")])
