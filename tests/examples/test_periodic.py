"""The periodic example."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from examples.periodic import Plan, Reading, latest, look, start, stop
from perdure import Client
from perdure.testing import run

pytestmark = pytest.mark.anyio

APP = "examples.periodic:app"
READY = "/Monitor/nobody/latest", b""


async def after_runs(client: Client, key: str, runs: int) -> Reading:
    """The reading after so many runs or more."""
    with anyio.fail_after(20):
        while True:
            reading = await client.call(latest, key=key)
            if reading.runs >= runs:
                return reading
            await anyio.sleep(0.01)


async def test_a_file_is_looked_at_again_and_again(client: Client, key: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    await client.call(start, Plan(str(file), every=0.02), key=key)
    first = await after_runs(client, key, 2)
    assert first.size is None
    file.write_text("hello")
    second = await after_runs(client, key, first.runs + 2)
    assert second.size == 5
    await client.call(stop, key=key)


async def test_what_is_stopped_comes_to_nothing(client: Client, key: str, tmp_path: Path) -> None:
    await client.call(start, Plan(str(tmp_path), every=0.02), key=key)
    await after_runs(client, key, 1)
    await client.call(stop, key=key)
    runs = (await client.call(latest, key=key)).runs
    await client.call(look, 1, key=key)  # what a look that was sent before does now
    assert (await client.call(latest, key=key)).runs == runs


async def test_a_look_of_an_earlier_series_does_nothing() -> None:
    ran = await run(look, 1, key="file", state={"plan": Plan("file", 1), "series": 2}, always_replay=True)
    assert "reading" not in ran.state


async def test_a_look_sends_the_next_one(tmp_path: Path) -> None:
    state = {"plan": Plan(str(tmp_path / "none"), 60), "series": 1}
    ran = await run(look, 1, key="file", state=state, always_replay=True)
    assert [type(command).__name__ for command in ran.commands].count("OneWayCallCommand") == 1
