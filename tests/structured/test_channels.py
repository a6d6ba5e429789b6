"""Memory channels between branches: values arrive once, in order, also when everything is replayed."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from perdure import Context, UsageError
from tests.structured.plays import played, result_of

pytestmark = pytest.mark.anyio


async def double(value: int) -> int:
    return 2 * value


@pytest.mark.parametrize("size", [0, 1, 3, math.inf])
async def test_every_value_arrives_once_and_in_order(size: float) -> None:
    async def handler(ctx: Context) -> list[int]:
        send, receive = ctx.open_memory_channel(size)
        received: list[int] = []

        async def produce() -> None:
            with send:
                for number in range(6):
                    await send.send(await ctx.run(double, number))

        async with ctx.open_nursery() as nursery:
            nursery.start_soon(produce)
            with receive:
                async for value in receive:
                    received.append(value)
                    await ctx.sleep(1)
        return received

    assert await result_of(handler) == [0, 2, 4, 6, 8, 10]


async def test_several_receivers_share_the_values_and_each_clone_is_closed_on_its_own() -> None:
    async def handler(ctx: Context) -> list[Any]:
        send, receive = ctx.open_memory_channel()
        log: list[Any] = []

        async def consume(name: str, seconds: float) -> None:
            with receive.clone() as mine:
                async for value in mine:
                    log.append([name, value])
                    await ctx.sleep(seconds)

        async def produce(start: int) -> None:
            with send.clone() as mine:
                for number in range(start, start + 3):
                    await mine.send(number)

        async with ctx.open_nursery() as nursery:
            nursery.start_soon(consume, "slow", 10)
            nursery.start_soon(consume, "fast", 1)
            nursery.start_soon(produce, 0)
            nursery.start_soon(produce, 10)
            await ctx.sleep(0.5)
            send.close()
            receive.close()
        return log

    told = await result_of(handler)
    assert sorted(value for _, value in told) == [0, 1, 2, 10, 11, 12]
    assert [name for name, _ in told].count("fast") > [name for name, _ in told].count("slow")


async def test_a_sender_waits_while_the_buffer_is_full() -> None:
    async def handler(ctx: Context) -> list[Any]:
        send, receive = ctx.open_memory_channel(1)
        log: list[Any] = []

        async def produce() -> None:
            for number in range(3):
                await send.send(number)
                log.append(f"sent {number}")

        async with ctx.open_nursery() as nursery:
            nursery.start_soon(produce)
            await ctx.sleep(1)
            log.append("look")
            for _ in range(3):
                log.append(await receive.receive())  # noqa: PERF401 - its place between the others is what is tested
        return log

    assert await result_of(handler) == ["sent 0", "look", 0, 1, "sent 1", "sent 2", 2]


async def test_what_cannot_be_done_at_once_says_so() -> None:
    async def handler(ctx: Context) -> int:
        send, receive = ctx.open_memory_channel(1)
        with pytest.raises(anyio.WouldBlock):
            receive.receive_nowait()
        send.send_nowait(7)
        with pytest.raises(anyio.WouldBlock):
            send.send_nowait(8)
        return int(receive.receive_nowait())

    assert await result_of(handler) == 7


async def test_the_other_side_is_told_when_one_is_closed() -> None:
    async def handler(ctx: Context) -> list[str]:
        told: list[str] = []

        async def sender() -> None:
            try:
                await send.send("never received")
            except anyio.BrokenResourceError:
                told.append("broken")

        async def receiver() -> None:
            try:
                await other_receive.receive()
            except anyio.EndOfStream:
                told.append("end")

        send, receive = ctx.open_memory_channel()
        other_send, other_receive = ctx.open_memory_channel()
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(sender)
            nursery.start_soon(receiver)
            await ctx.sleep(1)
            receive.close()
            receive.close()
            other_send.close()
        with pytest.raises(anyio.BrokenResourceError):
            await send.send("nobody")
        with pytest.raises(anyio.ClosedResourceError):
            await other_send.send("closed")
        with pytest.raises(anyio.ClosedResourceError):
            receive.clone()
        return told

    assert await result_of(handler) == ["broken", "end"]


async def test_what_was_sent_before_the_end_is_still_received() -> None:
    async def handler(ctx: Context) -> list[int]:
        send, receive = ctx.open_memory_channel(math.inf)
        with send:
            for number in range(3):
                await send.send(number)
        return [value async for value in receive]

    assert await result_of(handler) == [0, 1, 2]


async def test_a_value_is_not_lost_to_a_cancelled_receiver() -> None:
    async def handler(ctx: Context) -> list[Any]:
        send, receive = ctx.open_memory_channel()
        log: list[Any] = []

        async def impatient() -> None:
            with ctx.move_on_after(1):
                log.append(await receive.receive())

        async def patient() -> None:
            await ctx.sleep(2)
            log.append(["patient", await receive.receive()])

        async with ctx.open_nursery() as nursery:
            nursery.start_soon(impatient)
            nursery.start_soon(patient)
            await ctx.sleep(3)
            await send.send("value")
        return log

    assert await result_of(handler) == [["patient", "value"]]


@pytest.mark.parametrize("size", [-1, 1.5, True, "1"])
async def test_a_size_that_is_no_count_is_refused(size: Any) -> None:
    async def handler(ctx: Context) -> None:
        ctx.open_memory_channel(size)

    with pytest.raises(UsageError, match="a channel holds a number of values"):
        await played(handler)
