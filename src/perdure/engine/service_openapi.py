"""The OpenAPI document of a service: how the ingress offers its handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from perdure.engine.rows import HandlerOptions, Kind

if TYPE_CHECKING:
    from perdure.engine.entities import ServiceEntity
    from perdure.wire.manifest import HandlerManifest

__all__ = ["openapi_of"]

_ERROR: Final = {"$ref": "#/components/responses/GenericError"}
_KEY: Final = {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}}
_IDEMPOTENCY: Final = {"name": "idempotency-key", "in": "header", "required": False, "schema": {"type": "string"}}
_BY_KEY: Final = {"name": "idempotencyKey", "in": "path", "required": True, "schema": {"type": "string"}}
_DELAY: Final = {
    "name": "delay",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "when it starts, from now: `2s`, `1m 30s`, `PT2S`",
}
_RECEIPT: Final = {
    "type": "object",
    "required": ["invocationId", "status"],
    "properties": {
        "invocationId": {"type": "string"},
        "status": {"type": "string", "enum": ["Accepted", "PreviouslyAccepted"]},
        "executionTime": {"type": "string", "format": "date-time"},
    },
}
_FAILURE: Final = {
    "type": "object",
    "required": ["code", "message", "source"],
    "properties": {
        "code": {"type": "number"},
        "message": {"type": "string"},
        "source": {"type": "string", "enum": ["ingress", "invocation"]},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def openapi_of(service: ServiceEntity, handlers: Mapping[str, HandlerManifest], ingress_url: str) -> dict[str, Any]:
    """Describe a service in OpenAPI 3.1.

    Args:
        service: as it is deployed now.
        handlers: what its manifest says, by name.
        ingress_url: where it is called.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"SendResponse": _RECEIPT, "Error": _FAILURE}
    for name, options in sorted(service.handlers.items()):
        if not options.private:
            paths |= _paths(service, name, options, handlers.get(name), schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": service.name, "version": str(service.revision)},
        "servers": [{"url": ingress_url, "description": "Restate ingress of the embedded engine"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "GenericError": {
                    "description": "the failure of the handler, or a refusal of the ingress",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
        },
    }


def _paths(
    service: ServiceEntity,
    name: str,
    options: HandlerOptions,
    manifest: HandlerManifest | None,
    schemas: dict[str, Any],
) -> dict[str, Any]:
    keyed = service.kind is not Kind.SERVICE
    where = f"{quote(service.name)}{'/{key}' if keyed else ''}/{quote(name)}"
    common = [_KEY] if keyed else []
    named = [] if options.kind is Kind.WORKFLOW else [_IDEMPOTENCY]
    request: dict[str, Any] = {}
    if manifest is not None and manifest.input is not None and manifest.input.json_schema is not None:
        schemas[f"{name}Request"] = manifest.input.json_schema
        content_type = manifest.input.content_type or "application/json"
        content = {content_type: {"schema": {"$ref": f"#/components/schemas/{name}Request"}}}
        request = {"requestBody": {"required": manifest.input.required, "content": content}}
    result: dict[str, Any] = {"description": "the result"}
    if manifest is not None and manifest.output is not None and manifest.output.json_schema is not None:
        schemas[f"{name}Response"] = manifest.output.json_schema
        content_type = manifest.output.content_type or "application/json"
        result["content"] = {content_type: {"schema": {"$ref": f"#/components/schemas/{name}Response"}}}
    about = {} if manifest is None or manifest.documentation is None else {"description": manifest.documentation}
    accepted = {
        "description": "it is accepted",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SendResponse"}}},
    }

    def operation(verb: str, parameters: list[Any], responses: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "summary": f"{verb} {service.name}/{name}",
            "operationId": f"{verb}-{name}",
            "parameters": [*common, *parameters],
            "responses": responses | {"default": _ERROR},
            **about,
            **more,
        }

    paths: dict[str, Any] = {
        f"/restate/call/{where}": {"post": operation("call", named, {"200": result}, **request)},
        f"/restate/send/{where}": {"post": operation("send", [_DELAY, *named], {"202": accepted}, **request)},
    }
    if options.kind is Kind.WORKFLOW:
        at, by = f"/restate/workflow/{quote(service.name)}/{{key}}", list[Any]()
    else:
        at, by = f"/restate/invocation/{where}/{{idempotencyKey}}", [_BY_KEY]
    for verb in ("attach", "output"):
        paths[f"{at}/{verb}"] = {"get": operation(verb, by, {"200": result})}
    return paths
