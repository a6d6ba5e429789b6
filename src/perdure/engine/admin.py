"""The admin API, as far as it goes yet: health, version, deployments, services and their OpenAPI.

Paths stand with and without `/v2`, `/v3` or `/v4` in front, as on restate-server's port 9070. Answers are JSON, errors
too: `{"message": ..., "restate_code": ...}`.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from perdure.engine.asgi_exchange import Answer, AsgiRequest, Gone, TooLarge, answer_json, serve_lifespan
from perdure.engine.durations import format_milliseconds
from perdure.engine.remote.deployments import HTTP, SDK, about, headers_of
from perdure.engine.remote.errors import DiscoveryError
from perdure.engine.rows import HandlerOptions, Kind, PutDeployment, Retry
from perdure.engine.service_openapi import openapi_of
from perdure.exceptions import EngineClosed, EngineFailed
from perdure.wire.manifest import EndpointManifest, HandlerManifest
from perdure.wire.versions import SDK_VERSION

if TYPE_CHECKING:
    from perdure.engine.asgi_exchange import Receive, Scope, Send
    from perdure.engine.core import Core
    from perdure.engine.engine import Engine
    from perdure.engine.entities import ServiceEntity

__all__ = ["Admin"]

LARGEST_BODY: Final = 1024 * 1024
OLDEST, NEWEST = 2, 4
_VERSIONS: Final = frozenset(f"v{version}" for version in range(OLDEST, NEWEST + 1))

_TYPES: Final = {Kind.SERVICE: "Service", Kind.EXCLUSIVE: "VirtualObject", Kind.WORKFLOW: "Workflow"}
_HANDLER_TYPES: Final = {Kind.EXCLUSIVE: "Exclusive", Kind.SHARED: "Shared", Kind.WORKFLOW: "Workflow"}


class _Refusal(Exception):  # noqa: N818 - an answer on its way up
    """The API says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Registration(msgspec.Struct, frozen=True):
    """The body of `POST /deployments`; fields that are not known are ignored."""

    uri: str | None = None
    arn: str | None = None
    additional_headers: dict[str, str] | None = None
    use_http_11: bool = False
    force: bool | None = None
    breaking: bool = False
    dry_run: bool = False


_registrations: Final = msgspec.json.Decoder(_Registration)


class Admin:
    """The admin API of an engine, as an ASGI application.

    Args:
        engine: open while requests are served.
        ingress_url: where its ingress is, for those who ask.
    """

    def __init__(self, engine: Engine, ingress_url: str) -> None:
        self._engine = engine
        self._ingress_url = ingress_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
            return
        request = AsgiRequest(scope, receive, send)
        if request.method == "OPTIONS":
            await request.preflight()
            return
        try:
            answer = await self._answer(request, await request.body(LARGEST_BODY))
        except Gone:
            return
        except TooLarge:
            answer = _error(413, f"the body has more than {LARGEST_BODY} bytes")
        except _Refusal as refusal:
            answer = _error(refusal.status, refusal.message)
        except DiscoveryError as error:
            answer = _error(error.status, str(error), error.code)
        except (EngineClosed, EngineFailed) as error:
            answer = _error(503, str(error))
        await request.answer(answer)

    async def _answer(self, request: AsgiRequest, body: bytes) -> Answer:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        version = parts.pop(0) if parts[0] in _VERSIONS else None
        core = self._engine.core
        match request.method, parts:
            case "GET", ["health"]:
                core.check_open()
                return Answer(200)
            case "GET", ["version"]:
                return answer_json(200, self._version())
            case "GET", ["deployments"]:
                found = [_deployment(core, row) for row in core.view.deployments()]
                return answer_json(200, {"deployments": found})
            case "GET", ["deployments", id]:
                row = next((each for each in core.view.deployments() if each.id == id), None)
                if row is None:
                    raise _Refusal(404, f"not found in the schema registry: deployment with id '{id}'")
                return answer_json(200, _deployment(core, row, in_full=True))
            case "POST", ["deployments"]:
                return await self._register(core, body, by_default=version == "v2")
            case "GET", ["services"]:
                return answer_json(200, {"services": [_service(core, each) for each in core.view.services()]})
            case "GET", ["services", name]:
                return answer_json(200, _service(core, _known(core, name)))
            case "GET", ["services", name, "openapi"]:
                service = _known(core, name)
                return answer_json(200, openapi_of(service, _handlers(core, service), self._ingress_url))
            case _, ["health" | "version" | "deployments" | "services", *_]:
                raise _Refusal(405, f"{request.method} {request.path} is not offered by the embedded engine")
        raise _Refusal(404, f"nothing is at {request.path}")

    def _version(self) -> dict[str, Any]:
        return {
            "version": SDK_VERSION,
            "min_admin_api_version": OLDEST,
            "max_admin_api_version": NEWEST,
            "ingress_endpoint": f"{self._ingress_url}/",
            "features": {},
        }

    async def _register(self, core: Core, body: bytes, *, by_default: bool) -> Answer:
        try:
            asked = _registrations.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _Refusal(400, f"the body is no registration: {error}") from error
        if asked.arn is not None:
            raise _Refusal(501, "the embedded engine invokes no AWS Lambda functions; register the uri of an endpoint")
        if asked.uri is None:
            raise _Refusal(422, "the body names no deployment: uri is missing")
        registered = await core.remote.register(
            core,
            asked.uri,
            headers=asked.additional_headers,
            http1=asked.use_http_11,
            force=by_default if asked.force is None else asked.force,
            breaking=asked.breaking,
            dry_run=asked.dry_run,
        )
        row = registered.deployment
        told: dict[str, Any] = {
            "id": row.id,
            "services": _deployment(core, row, in_full=True)["services"],
            "min_protocol_version": row.min_protocol,
            "max_protocol_version": row.max_protocol,
        }
        if (sdk := about(row, SDK)) is not None:
            told["sdk_version"] = sdk
        return answer_json(201 if registered.created else 200, told, [("location", f"deployments/{row.id}")])


def _error(status: int, message: str, code: str | None = None) -> Answer:
    return answer_json(status, {"message": message, "restate_code": code})


def _known(core: Core, name: str) -> ServiceEntity:
    service = core.view.service(name)
    if service is None:
        raise _Refusal(404, f"not found in the schema registry: service with name '{name}'")
    return service


def _handlers(core: Core, service: ServiceEntity) -> dict[str, HandlerManifest]:
    """What the manifest says about the handlers of a service."""
    row = core.view.deployment(service.deployment)
    if row is None:
        return {}
    manifest = msgspec.json.decode(row.manifest, type=EndpointManifest)
    return {
        handler.name: handler for each in manifest.services if each.name == service.name for handler in each.handlers
    }


def _deployment(core: Core, row: PutDeployment, *, in_full: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {"id": row.id}
    if row.uri is not None:
        told |= {
            "uri": row.uri,
            "protocol_type": "BidiStream" if row.bidirectional else "RequestResponse",
            "http_version": about(row, HTTP) or "HTTP/2.0",
        }
        if headers := headers_of(row):
            told["additional_headers"] = dict(headers)
    else:
        told["protocol_type"] = "InProcess"
    moment = dt.datetime.fromtimestamp(row.created_at // 1000, dt.UTC)
    told["created_at"] = f"{moment:%Y-%m-%dT%H:%M:%S}.{row.created_at % 1000:03d}000000Z"
    told["min_protocol_version"], told["max_protocol_version"] = row.min_protocol, row.max_protocol
    if (sdk := about(row, SDK)) is not None:
        told["sdk_version"] = sdk
    services = [core.view.service(name) for name in sorted(row.services)]
    told["services"] = [
        _service(core, each) if in_full else {"name": each.name, "revision": each.revision}
        for each in services
        if each is not None
    ]
    return told


def _service(core: Core, service: ServiceEntity) -> dict[str, Any]:
    row = core.view.deployment(service.deployment)
    options = list(service.handlers.values())
    told: dict[str, Any] = {
        "name": service.name,
        "ty": _TYPES[service.kind],
        "handlers": [_handler(name, each) for name, each in sorted(service.handlers.items())],
        "deployment_id": row.id if row is not None else "",
        "revision": service.revision,
        "public": not all(each.private for each in options),
    }
    return told


def _handler(name: str, options: HandlerOptions) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "public": not options.private}
    if options.kind in _HANDLER_TYPES:
        told["ty"] = _HANDLER_TYPES[options.kind]
    told |= {
        "input_description": options.input_content_type or "none",
        "output_description": options.output_content_type or "none",
        "idempotency_retention": format_milliseconds(options.idempotency_retention),
        "journal_retention": format_milliseconds(options.journal_retention),
        "inactivity_timeout": format_milliseconds(options.inactivity_timeout),
        "abort_timeout": format_milliseconds(options.abort_timeout),
        "enable_lazy_state": options.lazy_state,
        "retry_policy": _retry(options.retry),
    }
    return told


def _retry(retry: Retry) -> dict[str, Any]:
    return {
        "initial_interval": format_milliseconds(retry.initial_interval),
        "exponentiation_factor": retry.factor,
        "max_attempts": retry.max_attempts,
        "max_interval": format_milliseconds(retry.max_interval),
        "on_max_attempts": retry.on_max_attempts.value.capitalize(),
    }
