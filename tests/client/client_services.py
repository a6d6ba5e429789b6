"""Services for the tests that call a real server; served in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from perdure.asgi import Endpoint
from perdure.exceptions import TerminalError
from perdure.handlers.context import Context, ObjectContext, SharedObjectContext, SharedWorkflowContext, WorkflowContext
from perdure.handlers.definitions import Service, VirtualObject, Workflow

__all__ = [
    "Failure",
    "add",
    "app",
    "echo",
    "echo_bytes",
    "fail",
    "headers",
    "key",
    "nothing",
    "private",
    "run",
    "unblock",
    "wait",
]

mirror = Service("Mirror")
hidden = Service("Hidden", ingress_private=True)
counter = VirtualObject("Counter")
flow = Workflow("Flow")


@dataclass
class Failure:
    message: str
    code: int
    metadata: dict[str, str] = field(default_factory=dict)


@mirror.handler
async def echo(ctx: Context, text: str) -> str:
    return text


@mirror.handler
async def echo_bytes(ctx: Context, data: bytes) -> bytes:
    return data


@mirror.handler
async def nothing(ctx: Context) -> None:
    return None


@mirror.handler
async def headers(ctx: Context) -> dict[str, str]:
    return dict(ctx.headers)


@mirror.handler
async def fail(ctx: Context, failure: Failure) -> str:
    raise TerminalError(failure.message, code=failure.code, metadata=failure.metadata)


@mirror.handler
async def wait(ctx: Context) -> str:
    """Wait for the first awakeable of the invocation."""
    return await ctx.awakeable(str)


@hidden.handler
async def private(ctx: Context) -> None:
    return None


@counter.handler
async def add(ctx: ObjectContext, count: int) -> int:
    total = count + (await ctx.get("total", int) or 0)
    ctx.set("total", total)
    return total


@counter.shared
async def key(ctx: SharedObjectContext) -> str:
    return ctx.key


@flow.main
async def run(ctx: WorkflowContext, text: str) -> str:
    return text + await ctx.promise("go", str)


@flow.handler
async def unblock(ctx: SharedWorkflowContext, text: str) -> None:
    await ctx.promise("go", str).resolve(text)


app = Endpoint(mirror, hidden, counter, flow)
