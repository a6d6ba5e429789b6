"""Logs that know about replays: a line is written once, however often its handler runs, and says whose it is.

structlog and the standard library, side by side; each works without the other.
"""

from __future__ import annotations

import logging
import sys

import structlog

import perdure
from perdure import Context, Service
from perdure.instrumentation import AttemptFilter, AttemptProcessor

bakery = Service("Bakery")


def configure_logs() -> None:
    """Set up both kinds of logs; whatever libraries log through `logging` is filtered, too."""
    structlog.configure(
        processors=[
            AttemptProcessor(),  # drops what a replay repeats, and binds the invocation to the rest
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler()
    handler.addFilter(AttemptFilter())
    handler.setFormatter(logging.Formatter("%(levelname)s %(service)s/%(handler)s %(invocation_id)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


log = structlog.get_logger()
oven_log = logging.getLogger("oven")


async def heat(degrees: int) -> int:
    oven_log.info("heated to %d", degrees)  # a step runs once, and so does its line
    return degrees


@bakery.handler
async def bake(ctx: Context, what: str) -> str:
    """Bake something."""
    log.info("order taken", what=what)
    await ctx.run(heat, 220)
    oven_log.info("%s is in the oven", what)
    await ctx.sleep(0.05)
    log.info("done", what=what)
    return f"fresh {what}"


configure_logs()
app = perdure.Endpoint(bakery)
