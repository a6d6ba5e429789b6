"""The Extensions, Telemetry and Logs APIs as typed calls, over the client of the Runtime API."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from perdure.aws_lambda.diagnostics import Diagnostic
from perdure.aws_lambda.extensions.registration import (
    LOGS_SCHEMA,
    EventType,
    ExtensionEvent,
    Registration,
    Subscription,
    read_event,
)
from perdure.aws_lambda.failures import RuntimeApiError
from perdure.aws_lambda.http1 import Http1Response
from perdure.aws_lambda.runtime_api import RuntimeApiClient

__all__ = ["ExtensionsApi"]

EXTENSION: Final = "/2020-01-01/extension"
TELEMETRY: Final = "/2022-07-01/telemetry"
LOGS: Final = "/2020-08-15/logs"

_OK: Final = 200
_ACCEPTED: Final = 202
_BAD_REQUEST: Final = 400
_JSON: Final = {"content-type": "application/json"}

logger: Final = logging.getLogger("perdure.aws_lambda")


class _Registered(msgspec.Struct, rename="camel"):
    function_name: str = ""
    function_version: str = ""
    handler: str = ""
    account_id: str | None = None


class _Refusal(msgspec.Struct, rename="camel"):
    error_type: str = ""
    error_message: str = ""


class ExtensionsApi:
    """The calls of one extension.

    Args:
        client: the connection to the platform.
    """

    def __init__(self, client: RuntimeApiClient) -> None:
        self._client = client

    async def register(self, name: str, events: Sequence[EventType]) -> Registration:
        """Register the extension.

        Args:
            name: for an external extension the name of its file under `/opt/extensions`, for an internal one any other.
            events: what it wants to be told; an internal extension cannot ask for `SHUTDOWN`.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        headers = {**_JSON, "lambda-extension-name": name, "lambda-extension-accept-feature": "accountId"}
        body = msgspec.json.encode({"events": list(events)})
        response = await self._client.request("POST", f"{EXTENSION}/register", headers, body)
        identifier = response.headers.get("lambda-extension-identifier")
        if response.status != _OK or not identifier:
            raise _refused(f"register the extension {name!r} for {', '.join(events) or 'no events'}", response)
        found = _read(response, _Registered)
        return Registration(
            identifier=identifier,
            function_name=found.function_name,
            function_version=found.function_version,
            handler=found.handler,
            account_id=found.account_id,
        )

    async def next_event(self, registration: Registration) -> ExtensionEvent:
        """Wait for the next event, for hours if need be. It also says that the last one is dealt with.

        Raises:
            RuntimeApiError: the platform refuses, or is gone.
        """
        response = await self._client.request("GET", f"{EXTENSION}/event/next", _named(registration))
        if response.status != _OK:
            raise _refused("give the next event", response)
        try:
            return read_event(response.body)
        except msgspec.MsgspecError as error:
            raise RuntimeApiError(f"the platform sent an event that is none: {error}", status=_OK) from error

    async def init_error(self, registration: Registration, error: Diagnostic) -> None:
        """Report that the extension cannot start; possible until the first `next_event`.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        await self._report("init", registration, error)

    async def exit_error(self, registration: Registration, error: Diagnostic) -> None:
        """Report that the extension cannot go on; it must end then.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        await self._report("exit", registration, error)

    async def _report(self, when: str, registration: Registration, error: Diagnostic) -> None:
        headers = {**_named(registration), **_JSON, "lambda-extension-function-error-type": error.header}
        response = await self._client.request("POST", f"{EXTENSION}/{when}/error", headers, error.body())
        if response.status not in {_OK, _ACCEPTED}:
            raise _refused(f"take the {when} error of the extension", response)

    async def subscribe_telemetry(self, registration: Registration, subscription: Subscription, uri: str) -> bool:
        """Ask for telemetry.

        Args:
            registration: whose.
            subscription: what, and when.
            uri: where to, `http://sandbox.localdomain:PORT/...`.

        Returns:
            Whether the platform has telemetry; emulators have none, and say so.

        Raises:
            RuntimeApiError: the platform does not take it.
        """
        for version in subscription.schema_versions[:-1]:
            body = subscription.to_dict(version, uri)
            response = await self._put(TELEMETRY, registration, body)
            if response.status != _BAD_REQUEST or b"schema" not in response.body.lower():
                return _subscribed("telemetry", response)
            logger.info("the platform does not know version %s of telemetry; an older one is tried", version)
        body = subscription.to_dict(subscription.schema_versions[-1], uri)
        return _subscribed("telemetry", await self._put(TELEMETRY, registration, body))

    async def subscribe_logs(self, registration: Registration, subscription: Subscription, uri: str) -> bool:
        """Ask for logs, of the API that telemetry has superseded; see `subscribe_telemetry`."""
        body = subscription.to_dict(LOGS_SCHEMA, uri)
        return _subscribed("logs", await self._put(LOGS, registration, body))

    async def _put(self, path: str, registration: Registration, body: dict[str, Any]) -> Http1Response:
        headers = {**_named(registration), **_JSON}
        return await self._client.request("PUT", path, headers, msgspec.json.encode(body))


def _named(registration: Registration) -> dict[str, str]:
    return {"lambda-extension-identifier": registration.identifier}


def _subscribed(what: str, response: Http1Response) -> bool:
    if response.status == _OK:
        return True
    if response.status == _ACCEPTED:
        logger.warning("this platform sends no %s: %s", what, response.body.decode(errors="replace").strip())
        return False
    raise _refused(f"subscribe to {what}", response)


def _read(response: Http1Response, kind: type[_Registered]) -> _Registered:
    try:
        return msgspec.json.decode(response.body, type=kind)
    except msgspec.MsgspecError as error:
        raise RuntimeApiError(
            f"the platform registered the extension and sent what is no description of the function: {error}",
            status=response.status,
        ) from error


def _refused(asked: str, response: Http1Response) -> RuntimeApiError:
    try:
        failure = msgspec.json.decode(response.body, type=_Refusal)
    except msgspec.MsgspecError:
        failure = _Refusal(error_message=response.body[:200].decode(errors="replace"))
    said = ": ".join(part for part in (failure.error_type, failure.error_message) if part)
    return RuntimeApiError(
        f"the platform was to {asked} and answered {response.status}{f' ({said})' if said else ''}",
        status=response.status,
        error_type=failure.error_type,
    )
