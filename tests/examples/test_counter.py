"""The counter example."""

from __future__ import annotations

import anyio
import pytest

from examples.counter import add, current, reset
from perdure import Client
from perdure.testing import run

pytestmark = pytest.mark.anyio

APP = "examples.counter:app"
READY = "/Counter/nobody/current", b""


async def test_a_counter_counts(client: Client, key: str) -> None:
    assert await client.call(add, 3, key=key) == 3
    assert await client.call(add, 4, key=key) == 7
    assert await client.call(current, key=key) == 7


async def test_a_counter_begins_at_nothing_again_after_a_reset(client: Client, key: str) -> None:
    await client.call(add, 3, key=key)
    await client.call(reset, key=key)
    assert await client.call(current, key=key) == 0


async def test_nothing_is_lost_when_many_add_at_once(client: Client, key: str) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(lambda: client.call(add, 1, key=key))
    assert await client.call(current, key=key) == 20


async def test_each_key_counts_by_itself(client: Client, key: str) -> None:
    await client.call(add, 3, key=key)
    assert await client.call(current, key=f"{key}-other") == 0


async def test_state_that_is_there_is_added_to() -> None:
    ran = await run(add, 3, key="visits", state={"total": 4}, always_replay=True)
    assert ran.result == 7
    assert ran.state == {"total": b"7"}
