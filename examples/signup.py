"""A workflow with a durable promise: mail a link, wait until it is clicked, for as long as it takes.

The main handler runs once for each key, here an account name. The others run beside it: one completes the promise that
it waits for, one looks how far it is.
"""

from __future__ import annotations

import perdure
from perdure import SharedWorkflowContext, StateKey, TerminalError, Workflow, WorkflowContext

signup = Workflow("Signup")
stage = StateKey("stage", str, default="unknown")


async def send_mail(address: str, text: str) -> None:
    print(f"mail to {address}: {text}", flush=True)


@signup.main
async def run(ctx: WorkflowContext, address: str) -> str:
    """Sign an account up; returns when its address is confirmed."""
    secret = str(ctx.uuid4())  # the same in every attempt
    ctx.set(stage, "waiting for the click")
    await ctx.run(send_mail, address, f"click with {secret}")

    clicked = await ctx.promise("clicked", str)
    if clicked != secret:
        ctx.set(stage, "refused")
        raise TerminalError("this is not the secret that was mailed", code=403)

    ctx.set(stage, "done")
    return f"{ctx.key} is confirmed as {address}"


@signup.handler
async def click(ctx: SharedWorkflowContext, secret: str) -> None:
    """What the link in the mail leads to. A second click is told that it comes too late (409)."""
    await ctx.promise("clicked", str).resolve(secret)


@signup.handler
async def progress(ctx: SharedWorkflowContext) -> str:
    """How far the sign-up is."""
    return await ctx.get(stage)


app = perdure.Endpoint(signup)
