"""The program around an attempt is cancelled: the fence comes first, whatever the handler is doing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from perdure import Context, Service
from perdure.durable.driver import Driver, End
from perdure.handlers.attempt import run_attempt
from perdure.handlers.environment import Environment
from perdure.handlers.registry import Registry
from perdure.machine.invocation import Invocation
from perdure.testing import InMemoryRuntime
from perdure.wire.messages import SetStateCommand, SleepCommand
from perdure.wire.versions import ProtocolVersion

pytestmark = pytest.mark.anyio

service = Service("HostCancellation")


@pytest.fixture(params=[False, True], ids=["own group", "group of the process"])
def shared(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@asynccontextmanager
async def home(*, shared: bool) -> AsyncIterator[anyio.abc.TaskGroup | None]:
    if not shared:
        yield None
        return
    async with anyio.create_task_group() as tasks:
        yield tasks
        tasks.cancel_scope.cancel()


class Cancelled:
    """One attempt of a handler, cancelled from outside once the handler has said so."""

    def __init__(self, handler: str, *, shared: bool) -> None:
        self.handler = handler
        self.shared = shared
        self.runtime = InMemoryRuntime(b"")
        self.reached = anyio.Event()
        self.left = False
        self.driver: Driver | None = None

    async def run(self) -> None:
        registry = Registry([service])
        bound = registry.lookup("HostCancellation", self.handler)
        assert bound is not None
        environment = Environment(registry, app=self)
        self.runtime.begin()
        async with home(shared=self.shared) as group, anyio.create_task_group() as host:
            self.driver = Driver(Invocation(ProtocolVersion.V6), self.runtime, messages=True, home=group)
            host.start_soon(run_attempt, bound, self.driver, environment)
            with anyio.fail_after(5):
                await self.reached.wait()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            host.cancel_scope.cancel()

    @property
    def written(self) -> list[type]:
        return [type(entry) for entry in self.runtime.journal]


@service.handler
async def parked(ctx: Context) -> None:
    ctx.app.reached.set()
    try:
        await ctx.sleep(3600)
    finally:
        ctx.set("left", 1)  # type: ignore[attr-defined]  # the class behind every context can
        ctx.app.left = True


@service.handler
async def in_plain_await(ctx: Context) -> None:
    await ctx.run(noop)
    ctx.app.reached.set()
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            ctx.sleep(1)
            ctx.app.left = True
            await ctx.sleep(1)


@service.handler
async def in_step(ctx: Context) -> None:
    async def step() -> None:
        ctx.app.reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            ctx.app.left = True

    await ctx.run(step)


@service.handler
async def beside_steps(ctx: Context) -> None:
    async def step() -> None:
        ctx.app.reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            ctx.app.left = True

    await ctx.gather(ctx.run(step), ctx.run(step))


async def noop() -> None: ...


@pytest.mark.parametrize("handler", ["parked", "in_plain_await", "in_step", "beside_steps"])
async def test_a_cancelled_attempt_ends_and_its_code_is_unwound(handler: str, shared: bool) -> None:
    attempt = Cancelled(handler, shared=shared)
    with anyio.fail_after(5):
        await attempt.run()
    assert attempt.driver is not None
    assert attempt.driver.end is End.CANCELLED
    assert attempt.left


@pytest.mark.parametrize("handler", ["parked", "in_plain_await"])
async def test_what_unwinds_writes_nothing(handler: str, shared: bool) -> None:
    attempt = Cancelled(handler, shared=shared)
    await attempt.run()
    assert SetStateCommand not in attempt.written
    assert attempt.written.count(SleepCommand) == (1 if handler == "parked" else 0)
    assert attempt.driver is not None
    assert not attempt.driver.machine.has_output


async def test_a_native_scope_of_the_handler_around_a_plain_await_is_its_own_business(shared: bool) -> None:
    own = Service("OwnScope")

    @own.handler
    async def wait(ctx: Context) -> str:
        await ctx.run(noop)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        await ctx.run(noop)
        return "went on"

    registry = Registry([own])
    bound = registry.lookup("OwnScope", "wait")
    assert bound is not None
    runtime = InMemoryRuntime(b"")
    runtime.begin()
    async with home(shared=shared) as group:
        driver = Driver(Invocation(ProtocolVersion.V6), runtime, messages=True, home=group)
        assert await run_attempt(bound, driver, Environment(registry)) is End.ENDED
