"""The handlers that are measured: an echo, and one that waits 20 ms; for perdure and for awslambdaric."""

from __future__ import annotations

import time
from typing import Any


async def echo(event: dict[str, Any], _: object) -> dict[str, Any]:
    return event


async def wait(event: dict[str, Any], _: object) -> dict[str, Any]:
    import anyio

    await anyio.sleep(0.02)
    return event


def ric_echo(event: dict[str, Any], _: object) -> dict[str, Any]:
    return event


def ric_wait(event: dict[str, Any], _: object) -> dict[str, Any]:
    time.sleep(0.02)
    return event
