"""Extension: what runs beside a function, told of invocations and of the end of the sandbox.

An *external* extension is a process of its own, started by the platform from ``/opt/extensions``; it lives from before
init until after the last invocation::

    async def on_event(event: ExtensionEvent) -> None: ...

    anyio.run(partial(run_extension, on_event))

An *internal* one lives in the process of the function, and is given to `with_extensions`.

The platform waits for extensions: init ends when all of them have asked for their first event, an invocation when they
have asked for the next. An error until the first event is an init error, a later one an exit error; either ends the
sandbox.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import Final, TypeAlias

import anyio

from perdure.aws_lambda.diagnostics import diagnose
from perdure.aws_lambda.extensions.api import ExtensionsApi
from perdure.aws_lambda.extensions.listener import Processor, TelemetryListener
from perdure.aws_lambda.extensions.registration import (
    EventType,
    ExtensionEvent,
    Registration,
    ShutdownEvent,
    Subscription,
)
from perdure.aws_lambda.failures import RuntimeApiError
from perdure.aws_lambda.runtime_api import RuntimeApiClient
from perdure.exceptions import UsageError

__all__ = ["Extension", "OnEvent", "RegisteredExtension", "run_extension"]

OnEvent: TypeAlias = Callable[[ExtensionEvent], Awaitable[object]]
"""Called with each event; the platform gives the next one when it has returned."""

_TELEMETRY: Final = "/telemetry"
_LOGS: Final = "/logs"

logger: Final = logging.getLogger("perdure.aws_lambda")


class Extension:
    """An extension, before it is registered.

    Args:
        on_event: called with each event.
        name: of an external extension the name of its file, which the program's own name is; of an internal one any
            other that no extension has.
        events: what it wants to be told. An internal extension is not told of `SHUTDOWN`; on managed instances no
            extension is told of `INVOKE`.
        on_telemetry: takes deliveries of telemetry.
        telemetry: which telemetry, and when.
        on_logs: takes deliveries of the Logs API, which telemetry has superseded.
        logs: which logs, and when.
        host: where deliveries are listened for.
        port: the port of that; 0 for a free one.
    """

    def __init__(
        self,
        on_event: OnEvent | None = None,
        *,
        name: str | None = None,
        events: Sequence[EventType] = ("INVOKE", "SHUTDOWN"),
        on_telemetry: Processor | None = None,
        telemetry: Subscription | None = None,
        on_logs: Processor | None = None,
        logs: Subscription | None = None,
        host: str = "0.0.0.0",  # noqa: S104 - in the sandbox, where the platform must reach it
        port: int = 0,
    ) -> None:
        self.name: str = PurePath(sys.argv[0]).name if name is None else name
        self.events: tuple[EventType, ...] = tuple(events)
        if not self.name:
            raise UsageError("an extension needs a name; an external one that of its file under /opt/extensions")
        if unknown := set(events) - {"INVOKE", "SHUTDOWN"}:
            raise UsageError(f"there are no events {', '.join(sorted(unknown))}; there are INVOKE and SHUTDOWN")
        self._on_event = on_event
        self._on_telemetry = on_telemetry
        self._telemetry = telemetry or Subscription()
        self._on_logs = on_logs
        self._logs = logs or Subscription()
        processors = {_TELEMETRY: on_telemetry, _LOGS: on_logs}
        self._listener = TelemetryListener(
            {path: processor for path, processor in processors.items() if processor is not None}, host=host, port=port
        )

    @asynccontextmanager
    async def registered(self, client: RuntimeApiClient) -> AsyncIterator[RegisteredExtension]:
        """Register, listen, and subscribe; for an internal extension before the runtime asks for an invocation.

        Args:
            client: the connection to the platform.

        Raises:
            RuntimeApiError: the platform refuses.
            OSError: the port for deliveries is taken.
        """
        api = ExtensionsApi(client)
        registration = await api.register(self.name, self.events)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            try:
                await self._subscribe(api, registration, tasks)
                yield RegisteredExtension(api, registration, self._on_event)
            except Exception as error:  # noqa: BLE001 - raised below: the task group would wrap it
                failure = error
            else:
                await self._listener.drain()
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _subscribe(self, api: ExtensionsApi, registration: Registration, tasks: anyio.abc.TaskGroup) -> None:
        if self._on_telemetry is None and self._on_logs is None:
            return
        try:
            await self._listener.start(tasks)
            if self._on_telemetry is not None:
                await api.subscribe_telemetry(registration, self._telemetry, self._listener.uri(_TELEMETRY))
            if self._on_logs is not None:
                await api.subscribe_logs(registration, self._logs, self._listener.uri(_LOGS))
        except (RuntimeApiError, OSError) as error:
            await report(api.init_error, registration, error)  # noqa: ASYNC120 - the platform is told first
            raise


async def report(how: Callable[..., Awaitable[None]], registration: Registration, error: Exception) -> None:
    """Tell the platform of an error of an extension; a refusal is logged, since the error itself counts."""
    try:
        await how(registration, diagnose(error))
    except RuntimeApiError as refused:
        logger.warning("the error of the extension could not be reported: %s", refused)


class RegisteredExtension:
    """An extension that the platform knows.

    Args:
        api: its calls.
        registration: what the platform said.
        on_event: called with each event.

    Attributes:
        registration: what the platform said: the name, version and handler of the function.
    """

    def __init__(self, api: ExtensionsApi, registration: Registration, on_event: OnEvent | None) -> None:
        self.registration: Registration = registration
        self._api = api
        self._on_event = on_event

    async def run(self) -> None:
        """Deal with events until the sandbox ends.

        Raises:
            RuntimeApiError: the platform refuses, or is gone.
            Exception: whatever `on_event` raised; it was reported as an exit error.
        """
        while True:
            event = await self._api.next_event(self.registration)
            try:
                if self._on_event is not None:
                    await self._on_event(event)
            except Exception as error:
                await report(self._api.exit_error, self.registration, error)  # noqa: ASYNC120 - the platform is told first
                raise
            if isinstance(event, ShutdownEvent):
                return


async def run_extension(
    extension: Extension | OnEvent,
    *,
    before: Callable[[Registration], Awaitable[object]] | None = None,
    client: RuntimeApiClient | None = None,
) -> None:
    """Be an external extension: what the program in `/opt/extensions` calls. Returns when the sandbox ends.

    Args:
        extension: the extension, or a function for its events.
        before: called when it is registered, before its first event: connections and the like. What it raises is an
            init error.
        client: in place of one for `AWS_LAMBDA_RUNTIME_API`; the caller closes it.

    Raises:
        UsageError: this process is not on Lambda.
        RuntimeApiError: the platform refuses, or is gone.
        Exception: whatever the extension raised; it was reported.
    """
    if not isinstance(extension, Extension):
        extension = Extension(extension)
    if client is None:
        async with RuntimeApiClient() as own:
            await run_extension(extension, before=before, client=own)
        return
    async with extension.registered(client) as registered:
        if before is not None:
            try:
                await before(registered.registration)
            except Exception as error:
                await report(ExtensionsApi(client).init_error, registered.registration, error)  # noqa: ASYNC120 - the platform is told first
                raise
        await registered.run()
