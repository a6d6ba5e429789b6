"""The functions that run inside the emulator."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import anyio
import msgspec

from perdure.aws_lambda import LambdaContext, LambdaEvent, main


class Order(msgspec.Struct):
    item: str
    count: int


class CustomerError(Exception):
    pass


async def handle(event: LambdaEvent[dict[str, Any]]) -> object:
    payload, context = event
    match payload["do"]:
        case "context":
            return {
                "request_id": context.request_id,
                "left": context.remaining_time(),
                "arn": context.invoked_function_arn,
                "trace_id": context.trace_id,
                "exported": os.environ.get("_X_AMZN_TRACE_ID"),
                "client": context.client_context,
                "function": context.function,
                "pid": os.getpid(),
            }
        case "fail":
            raise CustomerError("no such customer")
        case "group":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
        case "hang":
            await anyio.sleep_forever()
        case "block":
            time.sleep(60)  # noqa: ASYNC251 - the point: nobody can cancel it
        case "large":
            return "x" * payload["size"]
        case "exit":
            os._exit(3)
        case "raise exit":
            raise SystemExit(4)
        case "unwritable":
            return object()
        case "log":
            logging.getLogger("shop").error("sold %s", "out", extra={"item": "tea"})
    return payload


async def fail() -> None:
    raise CustomerError("no such customer")


async def typed(order: Order, context: LambdaContext) -> Order:
    assert context.request_id
    return msgspec.structs.replace(order, count=order.count + 1)


def plain(event: LambdaEvent[Order]) -> dict[str, Any]:
    return {"item": event.payload.item, "count": event.payload.count}


async def stop() -> None:
    await anyio.Path(os.environ["PERDURE_TEST_MARK"]).write_text("stopped", encoding="utf-8")


if __name__ == "__main__":
    main(handle, on_shutdown=stop, backend="trio" if os.environ["PERDURE_TEST_BACKEND"] == "trio" else "asyncio")
