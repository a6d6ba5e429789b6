"""The power fails at any moment: what was acknowledged is there, and the rest is there whole or not at all."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import cast

import pytest

from perdure.engine.rows import AppendEntry, DeleteInvocation, PutMark, PutState, Row
from perdure.engine.storage import Store, commits, open_store
from perdure.engine.storage.store import Synchronous
from perdure.exceptions import EngineError
from perdure.wire.messages import InputCommand, Value
from tests.engine.storage.heard import listening, step
from tests.engine.storage.power_loss import Disk, connect_to, lay_out
from tests.engine.storage.profile import scaled
from tests.engine.storage.test_rows import put

pytestmark = pytest.mark.anyio

IMAGES = scaled(150, 1000)
"""On each event loop."""


def batch(number: int) -> list[Row]:
    """Something of everything; `mark` and a state say how far it is, and entry `number` is in journal 1."""
    rows: list[Row] = [
        PutMark(number),
        AppendEntry(
            1, number, InputCommand(value=Value(number.to_bytes(4, "big") * random.Random(number).randrange(400)))
        ),
        PutState("Thing", "k", b"n", number.to_bytes(4, "big")),
        put(number + 1),
        *step(number + 1, 0, bytes(number % 3000)),
    ]
    if number > 20:
        rows.append(DeleteInvocation(number - 10, put(number - 10).id))
    return rows


async def run(disk: Disk, folder: Path, synchronous: Synchronous, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write batches to a disk until there are images enough, with checkpoints all the time, and close."""
    monkeypatch.setattr(commits, "_LOOK_EVERY", 100)
    monkeypatch.setattr("perdure.engine.storage.wal.WalFile.reaches", lambda *_: True)
    connect = connect_to(disk, folder.name)
    with listening(folder / "e.db", connect=connect, synchronous=synchronous) as heard:
        await heard.commit(0, put(1), *batch(0)[:3])
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


def last_whole(store: Store) -> int:
    """The last batch that is in a store, -1 for none; nothing of any later one may be."""
    last, reader = store.reader.mark(), store.reader
    journal = reader.entries(1, 0, 100_000)
    if not journal:
        assert reader.counters().invocation == last == 0
        assert reader.state("Thing", "k", b"n") is None
        return -1
    assert len(journal) == last + 1
    assert reader.state("Thing", "k", b"n") == last.to_bytes(4, "big")
    assert reader.counters().invocation == last + 1
    if last:
        assert reader.find(put(last + 1).id) == last + 1
        assert len(reader.entries(last + 1, 0, 10)) == 2
    if last > 20:
        assert reader.invocation(last - 10) is None
    return last


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
        await heard.commit(0, put(1), *batch(0)[:3])
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
        await heard.commit(0, put(1), *batch(0)[:3])
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
