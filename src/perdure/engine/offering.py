"""What an endpoint of the engine's own process offers, as the engine's rules want to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from perdure.engine.events import Offered
from perdure.engine.rows import HandlerOptions, Kind, Retry
from perdure.exceptions import UsageError
from perdure.handlers.definitions import HandlerKind
from perdure.wire.manifest import OnMaxAttempts, ServiceType

if TYPE_CHECKING:
    from perdure.handlers.registry import BoundHandler, Registry
    from perdure.machine.retry import RetryPolicy

__all__ = ["offered"]

_KINDS: Final = {
    HandlerKind.SERVICE: Kind.SERVICE,
    HandlerKind.EXCLUSIVE: Kind.EXCLUSIVE,
    HandlerKind.SHARED: Kind.SHARED,
    HandlerKind.MAIN: Kind.WORKFLOW,
    HandlerKind.BESIDE_MAIN: Kind.SHARED,
}

_OF_SERVICES: Final = {
    ServiceType.SERVICE: Kind.SERVICE,
    ServiceType.VIRTUAL_OBJECT: Kind.EXCLUSIVE,
    ServiceType.WORKFLOW: Kind.WORKFLOW,
}

_LONGEST_INTERVAL: Final = 365 * 24 * 3_600_000


def offered(registry: Registry) -> tuple[Offered, ...]:
    """The services of an endpoint, their handlers' options filled in.

    Raises:
        UsageError: a workflow has no main handler.
    """
    services: list[Offered] = []
    for name, service in registry.services.items():
        bound = [found for each in service.handlers if (found := registry.lookup(name, each)) is not None]
        if service.type is ServiceType.WORKFLOW and all(each.handler.kind is not HandlerKind.MAIN for each in bound):
            raise UsageError(f"workflow {name} has no main handler; decorate one with `.main`")
        services.append(
            Offered(name, _OF_SERVICES[service.type], {each.handler.name: _options(each) for each in bound})
        )
    return tuple(services)


def _options(bound: BoundHandler[Any]) -> HandlerOptions:
    """What is said of a handler; what is not stays as the engine has it."""
    options = bound.options
    said: dict[str, Any] = {
        "private": options.ingress_private,
        "lazy_state": options.lazy_state,
        "idempotency_retention": _milliseconds(options.idempotency_retention),
        "journal_retention": _milliseconds(options.journal_retention),
        "workflow_retention": _milliseconds(options.workflow_retention),
        "inactivity_timeout": _milliseconds(options.inactivity_timeout),
        "abort_timeout": _milliseconds(options.abort_timeout),
        "retry": None if options.retry is None else _retry(options.retry),
        "input_content_type": bound.input.content_type or None,
        "input_required": bound.handler.takes_input and not bound.input.accepts_empty,
        "output_content_type": bound.output.content_type or None,
    }
    return HandlerOptions(
        _KINDS[bound.handler.kind], **{name: value for name, value in said.items() if value is not None}
    )


def _retry(policy: RetryPolicy) -> Retry:
    return Retry(
        initial_interval=max(1, round(policy.initial_interval * 1000)),
        factor=policy.factor,
        max_interval=_LONGEST_INTERVAL if policy.max_interval is None else max(1, round(policy.max_interval * 1000)),
        max_attempts=policy.max_attempts,
        on_max_attempts=OnMaxAttempts.PAUSE if policy.on_exhausted == "pause" else OnMaxAttempts.KILL,
    )


def _milliseconds(seconds: float | None) -> int | None:
    """Whole milliseconds; what is more than nothing stays so."""
    if seconds is None:
        return None
    return max(1, round(seconds * 1000)) if seconds else 0
