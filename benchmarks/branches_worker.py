"""Measures branches in this process: what one costs over a sequential step, and what cancelling one costs.

Process time, best of several runs. What lives before a run is frozen (`gc.freeze`), as a server would do it after its
imports: otherwise the collector walks through the loaded modules again and again, and that is not what is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import time

import anyio
import anyio.abc

import perdure
from perdure.durable.driver import Driver
from perdure.handlers.attempt import run_attempt
from perdure.handlers.definitions import Handler
from perdure.handlers.environment import Environment
from perdure.handlers.registry import Registry
from perdure.machine.invocation import Invocation
from perdure.testing import InMemoryRuntime
from perdure.wire.messages import OutputCommand
from perdure.wire.versions import ProtocolVersion

service = perdure.Service("Bench")
cancelling: list[float] = []


async def step() -> int:
    return 1


async def child(ctx: perdure.Context) -> int:
    return await ctx.run(step)


async def parked(ctx: perdure.Context) -> None:
    await ctx.sleep(1000)


@service.handler
async def sequential(ctx: perdure.Context, n: int) -> int:
    total = 0
    for _ in range(n):
        total += await ctx.run(step)
    return total


@service.handler
async def branches(ctx: perdure.Context, n: int) -> int:
    async with ctx.open_nursery() as nursery:
        futures = [nursery.start_soon(child, ctx) for _ in range(n)]
    return sum([await future for future in futures])


@service.handler
async def cancelled(ctx: perdure.Context, n: int) -> None:
    async with ctx.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(parked, ctx)
        await ctx.sleep(0.001)
        begun = time.process_time()
        nursery.cancel_scope.cancel()
    cancelling.append(time.process_time() - begun)


class Bench:
    """Runs handlers in memory, their tasks in one group of the process."""

    def __init__(self, home: anyio.abc.TaskGroup) -> None:
        self.registry = Registry([service])
        self.environment = Environment(self.registry)
        self.home = home

    async def attempt(self, handler: Handler[object], runtime: InMemoryRuntime) -> float:
        """Process seconds of one attempt."""
        runtime.begin()
        driver = Driver(Invocation(ProtocolVersion.V6), runtime, messages=True, on_idle=runtime.idle, home=self.home)
        gc.collect()
        gc.freeze()
        begun = time.process_time()
        await run_attempt(self.registry.bound(handler), driver, self.environment)
        elapsed = time.process_time() - begun
        gc.unfreeze()
        return elapsed

    async def best(self, handler: Handler[object], n: int, rounds: int) -> tuple[float, float]:
        """Microseconds per step, processed and replayed."""
        processed: list[float] = []
        replayed: list[float] = []
        for _ in range(rounds):
            runtime = InMemoryRuntime(str(n).encode())
            processed.append(await self.attempt(handler, runtime))
            runtime.journal = [entry for entry in runtime.journal if not isinstance(entry, OutputCommand)]
            replayed.append(await self.attempt(handler, runtime))
        return min(processed) / n * 1e6, min(replayed) / n * 1e6


async def measure(rounds: int) -> dict[str, float]:
    async with anyio.create_task_group() as home:
        bench = Bench(home)
        step_processed, step_replayed = await bench.best(sequential, 1000, rounds)
        branch_processed, branch_replayed = await bench.best(branches, 1000, rounds)
        result = {
            "step processed": step_processed,
            "step replayed": step_replayed,
            "branch processed": branch_processed,
            "branch replayed": branch_replayed,
        }
        for n in (300, 3000):
            cancelling.clear()
            for _ in range(rounds):
                await bench.attempt(cancelled, InMemoryRuntime(str(n).encode()))
            result[f"cancel {n}"] = min(cancelling) / n * 1e6
        return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(json.dumps(anyio.run(measure, options.rounds, backend=options.backend)))


if __name__ == "__main__":
    main()
