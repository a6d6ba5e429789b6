"""Whatever an endpoint does wrong is an error of the attempt, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from perdure.engine.remote.channel import Broken
from perdure.wire.frames import encode_frames
from perdure.wire.messages import (
    EndMessage,
    Message,
    OutputCommand,
    RunCommand,
    StartMessage,
    SuspensionMessage,
    Value,
)
from perdure.wire.versions import ProtocolVersion
from tests.engine.remote.hosting import Host, endpoint_at
from tests.engine.remote.scripted import Script, Scripted, http1_peer, scripted

pytestmark = pytest.mark.anyio

V7 = ProtocolVersion.V7
ANSWER = [("content-type", V7.content_type)]
DONE = (OutputCommand(result=Value(b"1")), EndMessage())


async def attempt(script: Script) -> tuple[Host, Broken]:
    """One attempt against a script; it has to break."""
    host = Host()
    async with scripted(script) as url, endpoint_at(url) as endpoint:
        broken = await host.attempt(endpoint, "Shop/checkout")
    assert broken is not None
    return host, broken


async def answers(peer: Scripted, data: bytes, *, end: bool = True) -> None:
    stream = await peer.request()
    peer.respond(stream, 200, ANSWER)
    await peer.send(stream, data, end=end)
    await peer.drain()


def sending(*messages: Message, tail: bytes = b"", end: bool = True) -> Script:
    return partial(answers, data=encode_frames(messages) + tail, end=end)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "stopped without suspension, error or end"),
        (b"\x00", "the stream ended inside the header of a message"),
        (encode_frames([RunCommand(1)])[:-1], "the stream ended inside RunCommand"),
        (b"GARBAGE!" * 4, "a message of an unknown type (0x4741)"),
        (b"\x77\x77\x00\x00\x00\x00\x00\x00", "a message of the unknown type 0x7777"),
        (b"\x04\x02\x00\x00\xff\xff\xff\xff", "the limit is"),
        (encode_frames([EndMessage()]), "ended the invocation without an output"),
        (encode_frames([StartMessage()]), "which only an engine may send"),
        (encode_frames([OutputCommand()]), "an output that holds nothing"),
        (encode_frames([*DONE, RunCommand(1)]), "sent more behind its EndMessage"),
        (encode_frames(DONE) + b"\x00", "sent more behind its EndMessage"),
        (encode_frames([SuspensionMessage(), EndMessage()]), "sent more behind its SuspensionMessage"),
    ],
)
async def test_an_answer_that_the_protocol_does_not_allow_breaks_the_attempt(data: bytes, said: str) -> None:
    host, broken = await attempt(partial(answers, data=data))
    assert said in broken.error.message
    assert "EndMessage" not in host.attempts


async def test_what_came_before_the_fault_is_kept() -> None:
    host, broken = await attempt(sending(RunCommand(1), tail=b"\x77\x77\x00\x00\x00\x00\x00\x00"))
    assert host.commands() == ["InputCommand", "RunCommand"]
    assert broken.error.code == 571


async def test_bytes_long_after_the_end_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    told = anyio.Event()

    async def script(peer: Scripted) -> None:
        stream = await peer.request()
        peer.respond(stream, 200, ANSWER)
        await peer.send(stream, encode_frames(DONE))
        await peer.until(lambda: stream in peer.ended)
        await peer.send(stream, b"more")
        await peer.until(lambda: stream in peer.resets)
        told.set()
        await peer.drain()

    async with scripted(script) as url, endpoint_at(url) as endpoint:
        assert await host.attempt(endpoint, "Shop/checkout") is None
        with anyio.fail_after(20):
            await told.wait()
    assert host.attempts == ["EndMessage"]
    assert "behind the last message" in caplog.text


@pytest.mark.parametrize(
    ("status", "headers", "code", "delay"),
    [
        (404, [], "RT0012", None),
        (413, [], "RT0019", None),
        (415, [], "RT0015", None),
        (429, [("retry-after", "7")], "RT0023", 7000),
        (503, [("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")], "RT0023", 0),
        (503, [("retry-after", "soon")], "RT0023", None),
        (502, [("retry-after", "7")], "RT0010", None),
        (302, [("location", "/")], "RT0012", None),
        (200, [("content-type", "text/html")], "RT0012", None),
        (200, [], "RT0012", None),
    ],
)
async def test_another_answer_than_the_one_asked_for_is_told_with_its_code(
    status: int, headers: Sequence[tuple[str, str]], code: str, delay: int | None
) -> None:
    async def script(peer: Scripted) -> None:
        stream = await peer.request()
        peer.respond(stream, status, headers)
        await peer.send(stream, b"whatever", end=True)
        await peer.drain()

    _, broken = await attempt(script)
    assert broken.error.message.startswith(f"[{code}]")
    assert broken.error.next_retry_delay == delay
    assert not broken.infrastructure


async def test_a_reset_stream_is_an_error_of_its_attempt_alone() -> None:
    first, second = Host(), Host()

    async def script(peer: Scripted) -> None:
        one, two = await peer.request(1), await peer.request(2)
        for stream in (one, two):
            peer.respond(stream, 200, ANSWER)
        peer.h2.reset_stream(one, ErrorCodes.INTERNAL_ERROR)
        await peer.flush()
        await peer.send(two, encode_frames(DONE), end=True)
        await peer.drain()

    outcomes: dict[Host, Broken | None] = {}
    async with scripted(script) as url, endpoint_at(url) as endpoint:

        async def run(host: Host) -> None:
            outcomes[host] = await host.attempt(endpoint, "Shop/checkout")

        async with anyio.create_task_group() as tasks:
            for host in (first, second):
                tasks.start_soon(run, host)
    failed = [outcome for outcome in outcomes.values() if outcome is not None]
    assert [each.error.message for each in failed] == ["[RT0010] the endpoint reset the stream (INTERNAL_ERROR)"]
    assert sorted(first.attempts + second.attempts) == ["EndMessage", "broken"]


async def test_a_refused_stream_never_reached_the_handler() -> None:
    async def script(peer: Scripted) -> None:
        peer.h2.reset_stream(await peer.request(), ErrorCodes.REFUSED_STREAM)
        await peer.flush()
        await peer.drain()

    _, broken = await attempt(script)
    assert broken.infrastructure


async def test_a_connection_that_dies_under_an_attempt_breaks_it_and_the_next_one_gets_another() -> None:
    async def dies(peer: Scripted) -> None:
        stream = await peer.request()
        peer.respond(stream, 200, ANSWER)
        await peer.send(stream, encode_frames([RunCommand(1)]))

    async def works(peer: Scripted) -> None:
        await answers(peer, encode_frames(DONE))

    host = Host()
    async with scripted(dies, works) as url, endpoint_at(url) as endpoint:
        broken = await host.attempt(endpoint, "Shop/checkout")
        assert broken is not None
        assert "[RT0010]" in broken.error.message
        assert not broken.infrastructure
        assert await host.attempt(endpoint, "Shop/checkout") is None
    assert host.attempts == ["broken", "EndMessage"]


async def test_bytes_that_are_no_http2_break_what_runs_and_nothing_else() -> None:
    async def script(peer: Scripted) -> None:
        await peer.request()
        await peer.socket.send(b"\xff" * 64)
        await peer.drain()

    _, broken = await attempt(script)
    assert "it broke the HTTP/2 protocol" in broken.error.message


async def test_a_goaway_lets_what_runs_end_and_sends_the_next_elsewhere() -> None:
    async def leaves(peer: Scripted) -> None:
        stream = await peer.request()
        peer.h2.close_connection(last_stream_id=stream)
        data = peer.h2.data_to_send()
        peer.h2.state_machine.state = type(peer.h2.state_machine.state).SERVER_OPEN
        await peer.socket.send(data)
        peer.respond(stream, 200, ANSWER)
        await peer.send(stream, encode_frames(DONE), end=True)
        await peer.drain()

    host, other = Host(), Host()
    async with scripted(leaves, sending(*DONE)) as url, endpoint_at(url) as endpoint:
        assert await host.attempt(endpoint, "Shop/checkout") is None
        assert await other.attempt(endpoint, "Shop/checkout") is None


async def test_an_endpoint_that_says_nothing_is_waited_for_until_the_engine_leaves() -> None:
    host = Host()

    async def script(peer: Scripted) -> None:
        stream = await peer.request()
        assert host.channel is not None
        host.channel.cut()
        await peer.until(lambda: stream in peer.resets)
        told.set()

    told = anyio.Event()
    async with scripted(script) as url, endpoint_at(url) as endpoint:
        assert await host.attempt(endpoint, "Shop/checkout") is None
        with anyio.fail_after(20):
            await told.wait()
    assert host.attempts == ["left"]


async def test_a_handler_far_ahead_of_the_disk_is_held_back_and_goes_on_with_credit() -> None:
    host = Host()
    many = 1500

    async def script(peer: Scripted) -> None:
        stream = await peer.request()
        peer.respond(stream, 200, ANSWER)
        for index in range(many):
            await peer.send(stream, encode_frames([RunCommand(index + 1)]))
        await peer.send(stream, encode_frames(DONE), end=True)
        await peer.drain()

    original = host.take
    held = anyio.Event()

    def take(session: object, messages: Sequence[Message]) -> None:
        assert host.channel is not None
        original(host.channel.session, messages)
        host.channel.session.charge(1)
        if host.channel.session.overdrawn:
            held.set()

    host.take = take  # type: ignore[method-assign]  # the engine charges what is not committed
    async with scripted(script) as url, endpoint_at(url) as endpoint, anyio.create_task_group() as tasks:
        tasks.start_soon(host.attempt, endpoint, "Shop/checkout")
        with anyio.fail_after(20):
            await held.wait()
        await anyio.wait_all_tasks_blocked()
        assert len(host.commands()) < many
        while not host.attempts:
            assert host.channel is not None
            host.channel.session.committed(1)
            host.channel.wake()
            await anyio.lowlevel.checkpoint()
    assert host.attempts == ["EndMessage"]


async def test_a_stream_that_is_not_read_holds_up_no_other() -> None:
    """The peer gives one stream no window at all: its request waits, and others go through."""
    big, small = Host(b"x" * 300_000), Host()

    async def script(peer: Scripted) -> None:
        peer.credit = False
        one = await peer.request(1)
        await peer.until(lambda: len(peer.bodies[one]) == 32_768)
        two = await peer.request(2)
        peer.h2.increment_flow_control_window(1_000_000)
        await peer.flush()
        peer.respond(two, 200, ANSWER)
        await peer.send(two, encode_frames(DONE), end=True)
        served.set()
        await peer.drain()

    served = anyio.Event()
    limits = {SettingCodes.INITIAL_WINDOW_SIZE: 32_768}
    async with (
        scripted(script, settings=limits) as url,
        endpoint_at(url) as endpoint,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(big.attempt, endpoint, "Shop/checkout")
        while big.channel is None or big.channel.session.has_output:
            await anyio.lowlevel.checkpoint()
        assert await small.attempt(endpoint, "Shop/checkout") is None
        big.channel.cut()
    assert small.attempts == ["EndMessage"]


async def test_more_attempts_than_a_connection_takes_open_another() -> None:
    limits = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    first, second = Host(), Host()
    both = anyio.Event()
    seen: list[int] = []

    async def script(peer: Scripted) -> None:
        stream = await peer.request()
        seen.append(stream)
        if len(seen) == 2:
            both.set()
        await both.wait()
        peer.respond(stream, 200, ANSWER)
        await peer.send(stream, encode_frames(DONE), end=True)
        await peer.drain()

    async with scripted(script, script, settings=limits) as url, endpoint_at(url) as endpoint:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for host in (first, second):
                    tasks.start_soon(host.attempt, endpoint, "Shop/checkout")
    assert first.attempts == second.attempts == ["EndMessage"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "ended the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not answer with HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "RT0012"),
        (
            f"HTTP/1.1 200 OK\r\ncontent-type: {V7.content_type}\r\ncontent-length: 50\r\n\r\nab".encode(),
            "ended the connection",
        ),
    ],
)
async def test_over_http1_a_cut_or_wrong_answer_breaks_the_attempt(answer: bytes | None, said: str) -> None:
    host = Host()
    async with http1_peer(answer) as url, endpoint_at(url, http1=True) as endpoint:
        broken = await host.attempt(endpoint, "Shop/checkout", bidirectional=False)
    assert broken is not None
    assert said in broken.error.message
