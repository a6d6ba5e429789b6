"""The smallest service: one handler, one step.

    perdure serve examples.greeter:app
    curl localhost:8080/Greeter/greet --json '"Ada"'

The first line serves it; the second calls it through a restate-server that it was registered with.
"""

from __future__ import annotations

import random

import perdure
from perdure import Context, Service

greeter = Service("Greeter")


async def choose_greeting() -> str:
    return random.choice(["Hello", "Good day", "Welcome"])  # noqa: S311 - no secret


@greeter.handler
async def greet(ctx: Context, name: str) -> str:
    """Greet somebody."""
    # Chance belongs into a step: the greeting that was chosen first is the one that every replay gets.
    greeting = await ctx.run(choose_greeting)
    return f"{greeting}, {name}!"


app = perdure.Endpoint(greeter)
