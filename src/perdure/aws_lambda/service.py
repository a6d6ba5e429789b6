"""What the runtime runs: a service, and the layers around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import Response

__all__ = ["LambdaService", "Layer", "Next", "layered"]

Next: TypeAlias = Callable[[Invocation], Awaitable[Response]]
"""Answers an invocation: a service, or a layer around one."""

Layer: TypeAlias = Callable[[Next], Next]
"""Wraps what answers invocations::

def timed(inner: Next) -> Next:
    async def call(invocation: Invocation) -> Response:
        started = time.monotonic()
        try:
            return await inner(invocation)
        finally:
            print(time.monotonic() - started)
    return call
"""


class LambdaService(ABC):
    """Answers invocations on bytes. Functions are made into one; HTTP applications and durable endpoints are ones."""

    @abstractmethod
    async def invoke(self, invocation: Invocation) -> Response:
        """Answer one invocation; what it raises is reported to the platform."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[object]:
        """What lasts as long as the process: entered at init, left at shutdown.

        An exception on the way in is an init error.
        """
        yield None

    @property
    def needs_shutdown(self) -> bool:
        """Whether the end of the sandbox matters to it; the platform is asked for SIGTERM then."""
        return type(self).running is not LambdaService.running


def layered(service: LambdaService, layers: Sequence[Layer]) -> Next:
    """Put layers around a service; the last one runs first."""
    call: Next = service.invoke
    for layer in layers:
        call = layer(call)
    return call
