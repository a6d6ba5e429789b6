"""Tasks of an attempt in a group that is not its own: none survives it, and no error is lost."""

from __future__ import annotations

import anyio
import pytest

from perdure.durable.children import Children
from tests.durable.attempts import ticks

pytestmark = pytest.mark.anyio


async def fails() -> None:
    await anyio.lowlevel.checkpoint()
    raise ValueError("bug")


async def test_the_end_cancels_what_runs_and_waits_for_it() -> None:
    cleaned = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await ticks(5)
            cleaned.set()

    async with anyio.create_task_group() as home:
        children = Children(home, lambda: None)
        children.start(slow)
        children.start(slow)
        await ticks()
        await children.end()
        assert cleaned.is_set()


async def test_a_child_that_has_not_begun_never_does() -> None:
    begun: list[str] = []

    async def child() -> None:
        await anyio.lowlevel.checkpoint()
        begun.append("begun")

    async with anyio.create_task_group() as home:
        children = Children(home, lambda: None)
        children.start(child)
        await children.end()
    assert begun == []


async def test_the_end_is_not_interrupted_by_the_host() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await ticks(5)
            ended.append("child")

    async with anyio.create_task_group() as home:
        children = Children(home, lambda: None)
        children.start(slow)
        await ticks()
        with anyio.CancelScope() as host:
            host.cancel()
            await children.end()
            ended.append("end")
    assert ended == ["child", "end"]


async def test_an_error_of_a_child_is_told_at_once_and_raised_at_the_end() -> None:
    told: list[str] = []
    async with anyio.create_task_group() as home:
        children = Children(home, lambda: told.append("failed"))
        children.start(fails)
        await ticks()
        assert told == ["failed"]
        with pytest.raises(ValueError, match="bug"):
            await children.end()


async def test_an_error_of_a_child_leaves_its_home_alone() -> None:
    async with anyio.create_task_group() as home:
        children = Children(home, lambda: None)
        children.start(fails)
        await ticks()
        assert not home.cancel_scope.cancel_called
        with pytest.raises(ValueError, match="bug"):
            await children.end()


async def test_an_end_without_children_does_not_wait() -> None:
    async with anyio.create_task_group() as home:
        await Children(home, lambda: None).end()
