"""Cancel scopes of the loop that runs, without the detour."""

from __future__ import annotations

import anyio
import pytest

from perdure.durable.loop import open_scope

pytestmark = pytest.mark.anyio


async def test_an_opened_scope_cancels_what_is_in_it() -> None:
    with open_scope() as scope:
        scope.cancel()
        await anyio.sleep_forever()
    assert scope.cancel_called
    assert scope.cancelled_caught


async def test_an_opened_scope_can_be_shielded() -> None:
    reached = []
    with anyio.CancelScope() as outer, open_scope() as scope:
        scope.shield = True
        outer.cancel()
        await anyio.lowlevel.checkpoint()
        reached.append("shielded")
        scope.shield = False
        await anyio.sleep_forever()
    assert reached == ["shielded"]
    assert outer.cancelled_caught
    assert not scope.cancel_called
