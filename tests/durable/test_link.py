"""A transport that breaks: handlers do not see it, nothing is written any more, and whoever runs the attempt hears."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from perdure import Service
from perdure.durable.driver import Driver
from perdure.handlers.attempt import run_attempt
from perdure.handlers.environment import Environment
from perdure.handlers.registry import Registry
from perdure.machine.invocation import Invocation
from tests.durable.attempts import V6, Peer

pytestmark = pytest.mark.anyio


class Breaking(Peer):
    """A peer whose transport raises what no transport should."""

    def __init__(self, *, receive_at: int = 0, send_at: int = 0) -> None:
        super().__init__()
        self.receive_at = receive_at
        self.send_at = send_at
        self.sends = 0

    async def receive(self) -> Any:
        if self.receives + 1 == self.receive_at:
            raise RuntimeError("broken transport")
        return await super().receive()

    async def send(self, messages: Any) -> None:
        self.sends += 1
        if self.sends == self.send_at:
            raise RuntimeError("broken transport")
        await super().send(messages)


async def run(handler: Any, peer: Peer) -> None:
    service = Service("Tested")
    service.handler(name="handler")(handler)
    registry = Registry([service])
    bound = registry.lookup("Tested", "handler")
    assert bound is not None
    with anyio.fail_after(5):
        await run_attempt(bound, Driver(Invocation(V6), peer, messages=True), Environment(registry))


@pytest.mark.parametrize("natively", [False, True], ids=["handler reads", "reader reads"])
async def test_an_error_of_receive_is_raised_by_the_attempt_and_not_in_the_handler(natively: bool) -> None:
    seen: list[str] = []

    async def handler(ctx: Any) -> str:
        if natively:
            await anyio.lowlevel.checkpoint()
        try:
            await ctx.sleep(1)
        except Exception as error:  # noqa: BLE001 - there must be none
            seen.append(repr(error))
        finally:
            ctx.set("a", 1)
        return "went on"

    peer = Breaking(receive_at=2)
    with pytest.raises(RuntimeError, match="broken transport"):
        await run(handler, peer)
    assert seen == []
    assert set(peer.kinds) <= {"SleepCommand"}


async def test_an_error_of_receive_before_the_journal_is_here_is_raised() -> None:
    async def handler(ctx: Any) -> None:
        pytest.fail("it was not to be called")

    with pytest.raises(RuntimeError, match="broken transport"):
        await run(handler, Breaking(receive_at=1))


async def test_an_error_of_send_is_raised_by_the_attempt_and_not_in_the_handler() -> None:
    seen: list[str] = []

    async def handler(ctx: Any) -> str:
        try:
            await ctx.sleep(1)
        except Exception as error:  # noqa: BLE001 - there must be none
            seen.append(repr(error))
        return "went on"

    peer = Breaking(send_at=1)
    with pytest.raises(RuntimeError, match="broken transport"):
        await run(handler, peer)
    assert (seen, peer.sent) == ([], [])


async def test_an_error_while_the_output_is_sent_is_raised() -> None:
    async def handler(ctx: Any) -> str:
        return "ended"

    with pytest.raises(RuntimeError, match="broken transport"):
        await run(handler, Breaking(send_at=1))
