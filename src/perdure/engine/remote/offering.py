"""What a manifest offers, as the engine's rules want to know it: `perdure.engine.offering` for other processes.

Handlers override services, services the defaults, field by field.
"""

from __future__ import annotations

from typing import Any, Final

from perdure.engine.events import Offered
from perdure.engine.remote.errors import DiscoveryError
from perdure.engine.rows import HandlerOptions, Kind, Retry
from perdure.wire.manifest import EndpointManifest, HandlerManifest, HandlerType, ServiceManifest, ServiceType

__all__ = ["offered_by"]

_OF_SERVICES: Final = {
    ServiceType.SERVICE: Kind.SERVICE,
    ServiceType.VIRTUAL_OBJECT: Kind.EXCLUSIVE,
    ServiceType.WORKFLOW: Kind.WORKFLOW,
}
_KINDS: Final[dict[tuple[ServiceType, HandlerType | None], Kind]] = {
    (ServiceType.SERVICE, None): Kind.SERVICE,
    (ServiceType.SERVICE, HandlerType.SHARED): Kind.SERVICE,
    (ServiceType.VIRTUAL_OBJECT, None): Kind.EXCLUSIVE,
    (ServiceType.VIRTUAL_OBJECT, HandlerType.EXCLUSIVE): Kind.EXCLUSIVE,
    (ServiceType.VIRTUAL_OBJECT, HandlerType.SHARED): Kind.SHARED,
    (ServiceType.WORKFLOW, None): Kind.SHARED,
    (ServiceType.WORKFLOW, HandlerType.SHARED): Kind.SHARED,
    (ServiceType.WORKFLOW, HandlerType.WORKFLOW): Kind.WORKFLOW,
}
_OPTIONS: Final = {
    "private": "ingress_private",
    "lazy_state": "enable_lazy_state",
    "idempotency_retention": "idempotency_retention",
    "journal_retention": "journal_retention",
    "inactivity_timeout": "inactivity_timeout",
    "abort_timeout": "abort_timeout",
}
_RETRY: Final = {
    "initial_interval": "retry_policy_initial_interval",
    "factor": "retry_policy_exponentiation_factor",
    "max_interval": "retry_policy_max_interval",
    "max_attempts": "retry_policy_max_attempts",
    "on_max_attempts": "retry_policy_on_max_attempts",
}
_ANYTHING: Final = "*/*"


def offered_by(manifest: EndpointManifest) -> tuple[Offered, ...]:
    """The services of a manifest, their handlers' options filled in.

    Raises:
        DiscoveryError: a handler has a type that its service cannot have, or a workflow has not one main handler.
    """
    return tuple(_offered(service) for service in manifest.services)


def _offered(service: ServiceManifest) -> Offered:
    handlers = {handler.name: _options(service, handler) for handler in service.handlers}
    mains = sum(options.kind is Kind.WORKFLOW for options in handlers.values())
    if service.ty is ServiceType.WORKFLOW and mains != 1:
        raise DiscoveryError(f"the workflow {service.name} has {mains} main handlers; it needs one", status=400)
    return Offered(service.name, _OF_SERVICES[service.ty], handlers)


def _options(service: ServiceManifest, handler: HandlerManifest) -> HandlerOptions:
    kind = _KINDS.get((service.ty, handler.ty))
    if kind is None:
        kind_name = handler.ty.value if handler.ty is not None else "no type"
        raise DiscoveryError(
            f"the handler {service.name}/{handler.name} is {kind_name}, which a {service.ty.value} cannot have",
            status=400,
        )
    said = _said(service, handler, _OPTIONS)
    retry = _said(service, handler, _RETRY)
    if "max_attempts" in retry:
        retry["max_attempts"] = max(1, retry["max_attempts"])  # restate-server reads 0 as 1
    if retry:
        said["retry"] = Retry(**retry)
    if kind is Kind.WORKFLOW and handler.workflow_completion_retention is not None:
        said["workflow_retention"] = handler.workflow_completion_retention
    if handler.input is not None:
        # Without a content type it takes nothing; rows have no word for that, and it is not checked.
        content_type = handler.input.content_type
        said["input_content_type"] = None if content_type == _ANYTHING else content_type
        said["input_required"] = handler.input.required
    if handler.output is not None:
        said["output_content_type"] = handler.output.content_type
    return HandlerOptions(kind, **said)


def _said(service: ServiceManifest, handler: HandlerManifest, names: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in names.items():
        value = getattr(handler, field)
        if value is None:
            value = getattr(service, field)
        if value is not None:
            found[name] = value
    return found
