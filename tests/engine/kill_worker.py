"""A program with an engine on a file, to be killed: ``python kill_worker.py FOLDER BACKEND load|finish``.

Clients make transfers, each under an idempotency key, and write down every answer they get, in the order in which they
get it. What the steps do is written down as well. Both files are written with one call each, so a killed process
leaves whole lines.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import anyio
import anyio.lowlevel

import perdure
from perdure import Context, ObjectContext, Service, SharedObjectContext, StateKey, VirtualObject

FOLDER = Path(sys.argv[1])
CLIENTS = 6
ACCOUNTS = ["a", "b"]

bank = Service("Bank")
account = VirtualObject("Account")
balance = StateKey("balance", int, default=0)


def write_down(name: str, line: str) -> None:
    """Append a line, whole or not at all."""
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (line + "\n").encode())
    finally:
        os.close(file)


async def look_up(name: str) -> str:
    write_down("steps", name)
    await anyio.lowlevel.checkpoint()
    return name


@bank.handler
async def transfer(ctx: Context, name: str) -> str:
    first = await ctx.run(look_up, name)
    await ctx.gather(*[ctx.call(add, 1, key=key) for key in ACCOUNTS])
    ctx.send(add, 1, key="later", delay=0.05)
    await ctx.sleep(0.002)
    second = await ctx.run(look_up, f"{name} again")
    return f"{first} {second}"


@account.handler
async def add(ctx: ObjectContext, amount: int) -> int:
    total = await ctx.get(balance) + amount
    await ctx.run(look_up, f"adding {ctx.key}")
    ctx.set(balance, total)
    return total


@account.shared
async def total(ctx: SharedObjectContext) -> int:
    return await ctx.get(balance)


app = perdure.Endpoint(bank, account)


def answered(client: int) -> int:
    """How many transfers of a client were answered, in all lives of the program."""
    path = FOLDER / "answers"
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(line.startswith(f"{client}-") for line in lines)


async def transfers(engine: perdure.Engine, client: int, number: int, last: int | None) -> None:
    """Make transfers from `number` on, one after the other."""
    while last is None or number <= last:
        name = f"{client}-{number}"
        result = await engine.call(transfer, name, idempotency_key=name)
        assert result == f"{name} {name} again", result
        write_down("answers", name)
        number += 1


async def main(how: str) -> None:
    async with perdure.open_engine(FOLDER / "bank.db", app) as engine:
        write_down("lives", how)
        begin = [answered(client) for client in range(CLIENTS)]
        async with anyio.create_task_group() as tasks:
            for client, number in enumerate(begin):
                # Of each client at most one transfer is open, and it is the next: finishing makes just that one.
                tasks.start_soon(transfers, engine, client, number, number if how == "finish" else None)
        made = sum(begin) + CLIENTS
        for _ in range(3000):
            if await engine.call(total, key="later") >= made:
                break
            await anyio.sleep(0.01)
        totals = {key: await engine.call(total, key=key) for key in [*ACCOUNTS, "later"]}
        for client, number in enumerate(begin):
            for earlier in range(number):
                name = f"{client}-{earlier}"
                again = await engine.invocation(transfer, idempotency_key=name).attach()
                assert again == f"{name} {name} again", again
        write_down("result", json.dumps({"made": made, "totals": totals}))


if __name__ == "__main__":
    anyio.run(main, sys.argv[3], backend=sys.argv[2])
