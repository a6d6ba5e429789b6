"""The power fails at any moment: what was acknowledged is there, and the rest is there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import pytest

from perdure.engine.storage import commits, open_store
from perdure.engine.storage.store import Synchronous
from perdure.exceptions import EngineError
from tests.engine.storage.heard import listening
from tests.engine.storage.killed import batch, last_whole
from tests.engine.storage.power_loss import Disk, connect_to, lay_out
from tests.engine.storage.profile import PATIENCE, scaled

pytestmark = [pytest.mark.anyio, PATIENCE]

IMAGES = scaled(120, 1000)
"""On each event loop."""


async def run(disk: Disk, folder: Path, synchronous: Synchronous, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write batches to a disk until there are images enough, with checkpoints all the time, and close."""
    monkeypatch.setattr(commits, "_LOOK_EVERY", 100)
    monkeypatch.setattr("perdure.engine.storage.wal.WalFile.reaches", lambda *_: True)
    connect = connect_to(disk, folder.name)
    with listening(folder / "e.db", connect=connect, synchronous=synchronous) as heard:
        await heard.commit(0, *batch(0))
        disk.acknowledge(0)
        number = 0
        while len(disk.images) < IMAGES:
            number += 1
            await heard.commit(number, *batch(number))
            disk.acknowledge(number)


def lost(acknowledged: int, image: dict[str, bytes], folder: Path) -> int:
    """Open an image; how many acknowledged batches are missing. Whatever is there must be whole."""
    try:
        store = open_store(lay_out(image, folder), warmed=False, synchronous=cast("Synchronous", "OFF"))
        try:
            return acknowledged - last_whole(store)
        finally:
            store.close()
    finally:
        shutil.rmtree(folder)


async def test_nothing_acknowledged_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(seed=1, limit=IMAGES)
    await run(disk, tmp_path, "FULL", monkeypatch)
    assert len(disk.images) == IMAGES
    losses = [lost(acknowledged, image, tmp_path / "image") for acknowledged, image in disk.images]
    assert max(losses) <= 0


async def test_with_fewer_syncs_the_same_images_lose_what_was_acknowledged_and_nothing_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(seed=1, limit=IMAGES)
    await run(disk, tmp_path, "NORMAL", monkeypatch)
    losses = [lost(acknowledged, image, tmp_path / "image") for acknowledged, image in disk.images]
    assert sum(1 for each in losses if each > 0) > IMAGES // 4


async def test_an_acknowledgement_before_the_commit_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(seed=1, every=1_000_000, limit=IMAGES)
    connect = connect_to(disk, tmp_path.name)
    with listening(tmp_path / "e.db", connect=connect) as heard:
        await heard.commit(0, *batch(0))
        for number in range(1, 30):
            heard.store.submit(number, batch(number))
            disk.acknowledge(number)  # too early
            while number not in heard.committed:
                await heard.news()
    losses = [lost(acknowledged, image, tmp_path / "image") for acknowledged, image in disk.images]
    assert max(losses) > 0


async def test_an_image_without_any_sync_is_refused_or_short(tmp_path: Path) -> None:
    """The simulator itself: a disk that never syncs loses or damages, so the tests above can fail."""
    disk = Disk(seed=2, every=20)
    disk.sync = lambda _: None  # type: ignore[method-assign, assignment]  # a disk that lies
    connect = connect_to(disk, tmp_path.name)
    with listening(tmp_path / "e.db", connect=connect) as heard:
        await heard.commit(0, *batch(0))
        for number in range(1, 40):
            await heard.commit(number, *batch(number))
            disk.acknowledge(number)
    outcomes = set()
    for acknowledged, image in disk.images[-24:]:
        try:
            outcomes.add("lost" if lost(acknowledged, image, tmp_path / "image") > 0 else "whole")
        except (EngineError, AssertionError):
            outcomes.add("damaged")
    assert outcomes & {"lost", "damaged"}
