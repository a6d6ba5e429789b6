"""Coroutines stepped by hand: contexts of their own, and who hears when one waits."""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from typing import Any

import anyio
import pytest

from perdure.durable.clock import SystemClock
from perdure.durable.closures import Closure
from perdure.durable.loop import raise_cancelled
from perdure.durable.source import parked_location, user_location
from perdure.durable.stepping import InContext, Watched
from perdure.machine.awaiting import Leaf

pytestmark = pytest.mark.anyio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


async def sets(*, waits: bool) -> str:
    variable.set("inside")
    if waits:
        await anyio.lowlevel.checkpoint()
    return variable.get()


# --- a context of its own ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", [True, False])
async def test_a_coroutine_in_a_context_changes_that_one_only(waits: bool) -> None:
    assert await InContext(sets(waits=waits), contextvars.copy_context(), None) == "inside"
    assert variable.get() == "outside"


@pytest.mark.parametrize(("waits", "told"), [(True, ["waits"]), (False, [])])
async def test_the_first_wait_is_told_once(waits: bool, told: list[str]) -> None:
    seen: list[str] = []

    async def twice() -> None:
        for _ in range(2):
            if waits:
                await anyio.lowlevel.checkpoint()

    await InContext(twice(), contextvars.copy_context(), lambda: seen.append("waits"))
    assert seen == told


@pytest.mark.parametrize("waits", [True, False])
async def test_errors_pass_through(waits: bool) -> None:
    async def fails() -> None:
        if waits:
            await anyio.lowlevel.checkpoint()
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await InContext(fails(), contextvars.copy_context(), None)


async def test_a_cancellation_goes_into_the_coroutine_and_may_be_handled_there() -> None:
    async def resists() -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return f"resisted {variable.get()}"
        return "?"

    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await InContext(resists(), contextvars.copy_context(), None) == "resisted outside"


async def test_a_closed_wrapper_closes_the_coroutine() -> None:
    left: list[str] = []

    @types_coroutine
    def pause() -> Generator[None, None, None]:
        yield

    async def suspended() -> None:
        try:
            await pause()
        finally:
            left.append("left")

    stepped = InContext(suspended(), contextvars.copy_context(), None).__await__()
    next(stepped)
    stepped.close()
    assert left == ["left"]


def types_coroutine(fn: Any) -> Any:
    from types import coroutine  # noqa: PLC0415 - needed here only

    return coroutine(fn)


# --- watched -------------------------------------------------------------------------------------------------------


class Owner:
    stepping = False


async def test_the_owner_is_told_while_the_coroutine_runs_and_only_then() -> None:
    owner, seen = Owner(), []

    async def looks() -> None:
        seen.append(owner.stepping)
        await anyio.lowlevel.checkpoint()
        seen.append(owner.stepping)

    def waits(who: Owner) -> bool:
        seen.append(who.stepping)
        return False

    await Watched(looks(), owner, waits, lambda _: None)
    assert seen[0] is seen[-1] is True
    assert set(seen[1:-1]) == {False}
    assert owner.stepping is False


async def test_a_cancellation_is_told_before_it_goes_in() -> None:
    moves: list[str] = []

    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            moves.append("cancelled")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await Watched(waits(), Owner(), lambda _: False, lambda _: moves.append("told"))
    assert moves[0] == "told"
    assert moves[-1] == "cancelled"


async def test_an_error_ends_the_stepping() -> None:
    owner = Owner()

    async def fails() -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await Watched(fails(), owner, lambda _: False, lambda _: None)
    assert owner.stepping is False


# --- small things --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shielded", [True, False])
async def test_the_cancellation_of_the_loop_can_be_raised_anywhere(shielded: bool) -> None:
    with anyio.CancelScope(shield=shielded):
        with pytest.raises(anyio.get_cancelled_exc_class()):
            await raise_cancelled()
        await anyio.lowlevel.checkpoint()


async def test_a_closure_takes_any_awaitable() -> None:
    class Ready:
        def __await__(self) -> Generator[Any, Any, int]:
            yield from anyio.lowlevel.checkpoint().__await__()
            return 5

    closure = Closure(
        Leaf(1), Ready, (), plain=False, encode=lambda value: str(value).encode(), retry=None, timeout=None, name="x"
    )
    assert await closure.try_once() == b"5"
    assert closure.tries == 1


async def test_the_system_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic(), clock.now()
    await clock.sleep(0)
    assert clock.monotonic() >= before[0]
    assert clock.now() > 1_600_000_000


def test_the_innermost_line_of_the_user_is_found() -> None:
    assert user_location().startswith(f"{__file__}:")
    assert user_location().endswith("in test_the_innermost_line_of_the_user_is_found")


def test_without_a_line_of_the_user_there_is_none() -> None:
    frame = compile("import sys; here = sys._getframe()", "<generated>", "exec")
    names: dict[str, Any] = {}
    # A frame without callers of the user's: the generated code, run by a thread that knows nothing else.
    from threading import Thread  # noqa: PLC0415 - needed here only

    thread = Thread(target=exec, args=(frame, names))
    thread.start()
    thread.join()
    assert parked_location(None) == ""
    location = user_location(names["here"])
    assert location == "" or "threading" in location


async def test_the_line_at_which_a_coroutine_waits_is_found() -> None:
    async def inner() -> None:
        await anyio.sleep_forever()

    async def outer() -> None:
        await inner()

    coroutine = outer()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await coroutine

        tasks.start_soon(run)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert parked_location(coroutine).endswith("in inner")
        tasks.cancel_scope.cancel()
