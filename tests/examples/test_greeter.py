"""The greeter example."""

from __future__ import annotations

import pytest

from examples.greeter import greet
from perdure import Client
from perdure.testing import run

pytestmark = pytest.mark.anyio

APP = "examples.greeter:app"
READY = "/Greeter/greet", b'"nobody"'


async def test_somebody_is_greeted(client: Client) -> None:
    assert (await client.call(greet, "Ada")).endswith(", Ada!")


async def test_a_replay_greets_with_the_words_chosen_first() -> None:
    ran = await run(greet, "Ada", always_replay=True)
    assert ran.attempts > 1
    assert ran.result.endswith(", Ada!")
