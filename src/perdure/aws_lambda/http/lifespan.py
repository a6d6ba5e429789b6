"""The lifespan of an ASGI application: started when the process starts, ended when the sandbox does.

As the ASGI specification has it: an application that raises on the lifespan scope does not support it, and is served
without; one that answers `lifespan.startup.failed` is not served. Here that is an init error.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import anyio

from perdure.aws_lambda.failures import FunctionError

__all__ = ["Lifespan", "LifespanMode"]

LifespanMode = Literal["auto", "on", "off"]

logger: Final = logging.getLogger("perdure.aws_lambda")


class Lifespan:
    """Runs the lifespan scope in a task beside the invocations.

    Args:
        app: the application.
        mode: `auto` serves an application without a lifespan, too; `on` does not; `off` does not ask.

    Attributes:
        state: what the application stored for its requests; each gets a copy.
    """

    def __init__(self, app: Any, mode: LifespanMode) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._mode = mode

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the application, and end it at the end.

        Raises:
            FunctionError: the application said that it cannot start, or cannot end in order.
        """
        if self._mode == "off":
            yield
            return
        self.state.clear()
        events = _Events()
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, events)
            await events.started.wait()
            if events.failure is not None:
                tasks.cancel_scope.cancel()  # an application that failed to start may wait for the end all the same
            else:
                try:
                    yield
                except Exception as error:  # noqa: BLE001 - raised below: the task group would wrap it
                    failure = error
                events.ending.set()
                await events.ended.wait()
        if failure is not None:
            raise failure
        if events.failure is not None:
            raise events.failure

    async def _run(self, events: _Events) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, events.receive, events.send)
        except Exception as error:
            if events.failure is not None:
                return  # it said so before it raised
            if events.started.is_set():
                logger.exception("the application's lifespan failed")
                events.failure = FunctionError(
                    f"the application's lifespan failed: {type(error).__name__}: {error}", error_type="LifespanError"
                )
            elif self._mode == "on":
                events.failure = FunctionError(
                    f"the application has no lifespan, or it failed: {type(error).__name__}: {error}",
                    error_type="LifespanError",
                )
            else:
                logger.info("served without a lifespan: the application raised %r on it", error)
        finally:
            events.started.set()
            events.ended.set()


class _Events:
    """The messages of the lifespan, both ways."""

    def __init__(self) -> None:
        self.started: anyio.Event = anyio.Event()
        self.ending: anyio.Event = anyio.Event()
        self.ended: anyio.Event = anyio.Event()
        self.failure: FunctionError | None = None
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self.ending.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self.started.set()
            case "lifespan.shutdown.complete":
                self.ended.set()
            case "lifespan.startup.failed" | "lifespan.shutdown.failed" as kind:
                what = "start" if kind == "lifespan.startup.failed" else "end in order"
                reason = message.get("message") or "it gave no reason"
                self.failure = FunctionError(f"the application could not {what}: {reason}", error_type="LifespanError")
                self.started.set()
                self.ended.set()
            case kind:
                raise ValueError(f"an application must not send {kind} in its lifespan")
