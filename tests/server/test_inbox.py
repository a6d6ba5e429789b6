"""What waits between a peer and an application that receives."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from perdure.server import inbox as inbox_module
from perdure.server.inbox import Inbox

pytestmark = pytest.mark.anyio

MORE = {"type": "http.request", "more_body": True}
LAST = {"type": "http.request", "more_body": False}
GONE = {"type": "http.disconnect"}


async def test_pieces_that_came_together_are_received_together() -> None:
    inbox = Inbox(100)
    for piece in (b"one ", b"two ", b"three"):
        inbox.feed(piece)
    assert await inbox.receive() == {**MORE, "body": b"one two three"}
    inbox.feed(b"four")
    inbox.end()
    assert await inbox.receive() == {**LAST, "body": b"four"}


async def test_the_end_that_comes_alone_is_an_empty_last_piece() -> None:
    inbox = Inbox(100)
    inbox.feed(b"all")
    assert await inbox.receive() == {**MORE, "body": b"all"}
    inbox.end()
    assert await inbox.receive() == {**LAST, "body": b""}


async def test_what_is_received_counts_as_consumed_once() -> None:
    consumed: list[int] = []
    inbox = Inbox(100, consumed.append)
    inbox.feed(b"12345")
    await inbox.receive()
    inbox.feed(b"123")
    inbox.discard()
    inbox.discard()
    assert consumed == [5, 3]


async def test_half_a_body_is_dropped_with_its_peer() -> None:
    consumed: list[int] = []
    inbox = Inbox(100, consumed.append)
    await inbox.put({**MORE, "body": b"half"})
    await inbox.put(GONE)
    assert await inbox.receive() == GONE
    assert consumed == [4]


async def test_a_whole_body_is_received_before_the_disconnect() -> None:
    inbox = Inbox(100)
    await inbox.put({**LAST, "body": b"whole"})
    await inbox.put(GONE)
    assert await inbox.receive() == {**LAST, "body": b"whole"}
    assert await inbox.receive() == GONE


async def test_a_disconnect_is_heard_inside_a_cancelled_scope() -> None:
    inbox = Inbox(100)
    inbox.disconnect(drop=True)
    heard = None
    with anyio.CancelScope() as scope:
        scope.cancel()
        heard = await inbox.receive()
    assert heard == GONE


async def test_every_task_that_waits_hears_of_the_disconnect() -> None:
    inbox = Inbox(100)
    heard: list[dict[str, Any]] = []

    async def listen() -> None:
        heard.append(await inbox.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        tasks.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        inbox.disconnect(drop=True)
    assert heard == [GONE, GONE]


async def test_put_waits_while_too_much_waits() -> None:
    inbox = Inbox(4)
    done = anyio.Event()

    async def put() -> None:
        await inbox.put({**MORE, "body": b"12345"})
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put)
        await anyio.wait_all_tasks_blocked()
        assert not done.is_set()
        assert await inbox.receive() == {**MORE, "body": b"12345"}
        await done.wait()


async def test_a_put_that_waits_goes_on_when_the_peer_is_gone() -> None:
    inbox = Inbox(4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inbox.put, {**MORE, "body": b"12345"})
        await anyio.wait_all_tasks_blocked()
        await inbox.put(GONE)


async def test_an_application_that_ignores_the_disconnect_is_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await checkpoint()

    monkeypatch.setattr("perdure.server.inbox.anyio.sleep", sleep)
    inbox = Inbox(100)
    inbox.disconnect(drop=True)
    for _ in range(3000):
        assert await inbox.receive() == GONE
    assert len(pauses) == 3000 - inbox_module.FREE_REPEATS
    assert pauses == sorted(pauses)
    assert pauses[-1] == inbox_module.LONGEST_PAUSE


async def test_websocket_messages_keep_their_order_and_end_with_their_own_farewell() -> None:
    inbox = Inbox(100)
    await inbox.put({"type": "websocket.connect"})
    await inbox.put({"type": "websocket.receive", "text": "one"})
    await inbox.put({"type": "websocket.disconnect", "code": 1001})
    received = [await inbox.receive() for _ in range(4)]
    assert [message["type"] for message in received] == [
        "websocket.connect",
        "websocket.receive",
        "websocket.disconnect",
        "websocket.disconnect",
    ]
