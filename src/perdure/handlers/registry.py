"""What one endpoint offers: its services by name, each handler with its serdes, and the manifest."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar

from perdure.durable.codec import PLAIN, Serdes
from perdure.durable.serde import OCTET_STREAM, serde_for
from perdure.exceptions import UsageError
from perdure.handlers.definitions import Definition, HandlerKind
from perdure.handlers.options import Options
from perdure.machine.retry import LONGEST_DELAY
from perdure.wire.manifest import (
    EndpointManifest,
    HandlerManifest,
    InputPayload,
    LambdaCompression,
    OnMaxAttempts,
    OutputPayload,
    ProtocolMode,
    ServiceManifest,
    ServiceType,
)
from perdure.wire.versions import MAX_VERSION, MIN_VERSION

if TYPE_CHECKING:
    from perdure.durable.codec import Codec
    from perdure.durable.serde import Serde, SerdeFactory
    from perdure.handlers.definitions import Handler
    from perdure.machine.retry import RetryPolicy

__all__ = ["ANY_ATTEMPTS", "BoundHandler", "Registry"]

R_co = TypeVar("R_co", covariant=True)

ANY_ATTEMPTS: Final = 2**32 - 1
"""Attempts. A manifest cannot say "no limit", and saying nothing means the runtime's own limit."""


class BoundHandler(Generic[R_co]):
    """A handler as one endpoint offers or calls it.

    Attributes:
        handler: the handler.
        service: the definition that was bound: the handler's own, or a copy with other options.
        options: what holds for it: its own options, over those of the service, over those of the endpoint.
        serdes: the serdes of everything it reads and writes: steps, state, promises.
        input: what reads the input; `None`'s serde when there is no input.
        output: what writes the result.
    """

    __slots__ = ("handler", "input", "options", "output", "serdes", "service")

    def __init__(self, service: Definition, handler: Handler[R_co], options: Options, serdes: Serdes) -> None:
        self.service: Definition = service
        self.handler: Handler[R_co] = handler
        self.options: Options = options
        self.serdes: Serdes = serdes
        self.input: Serde[Any] = handler.input_serde(serdes)
        self.output: Serde[Any] = handler.output_serde(serdes)

    def __repr__(self) -> str:
        return f"<BoundHandler {self.service.name}/{self.handler.name}>"


class Registry:
    """The services of one endpoint.

    Args:
        services: what is offered.
        serde: from annotations to serdes, where neither service nor handler says.
        codec: on top of every serde, where neither service nor handler says.

    Raises:
        UsageError: two services have one name, or a handler's types cannot be written.
    """

    def __init__(
        self,
        services: Iterable[Definition],
        *,
        serde: SerdeFactory | None = None,
        codec: Codec | None = None,
    ) -> None:
        self._defaults = Options(serde=serde, codec=codec)
        self._services: dict[str, Definition] = {}
        for service in services:
            if not isinstance(service, Definition):
                raise UsageError(f"an endpoint takes services, virtual objects and workflows, not {service!r}")
            if service.name in self._services:
                raise UsageError(f"two services of this endpoint are named {service.name!r}; give one another name")
            self._services[service.name] = service
        self._bound: dict[tuple[str, str], BoundHandler[Any]] = {}
        self._foreign: dict[Handler[Any], BoundHandler[Any]] = {}
        self._serdes: dict[tuple[int, int], Serdes] = {}
        for service in self._services.values():
            for name in service.handlers:
                self.lookup(service.name, name)

    @property
    def services(self) -> Mapping[str, Definition]:
        """The services by name, in the order given. Read-only."""
        return MappingProxyType(self._services)

    @property
    def serdes(self) -> Serdes:
        """The serdes of values that belong to no handler: of awakeables and signals, from outside of handlers."""
        return self._serdes_of(self._defaults)

    def lookup(self, service: str, handler: str) -> BoundHandler[Any] | None:
        """Return the handler of that name, `None` when this endpoint has none."""
        bound = self._bound.get((service, handler))
        if bound is not None:
            return bound
        # Not found above: it may have been registered after the endpoint was made.
        definition = self._services.get(service)
        found = None if definition is None else definition.handlers.get(handler)
        if definition is None or found is None:
            return None
        bound = self._bound[service, handler] = self._bind(definition, found)
        return bound

    def bound(self, handler: Handler[R_co]) -> BoundHandler[R_co]:
        """Return a handler as this endpoint calls it.

        One of this endpoint has the options that it has here. One of another program has its own, and the serdes and
        the codec of this endpoint where it says nothing: both ends of a call must agree.
        """
        bound = self._bound.get((handler.service.name, handler.name))
        if bound is not None and bound.handler is handler:
            return bound
        bound = self._foreign.get(handler)
        if bound is None:
            bound = self._foreign[handler] = self._bind(handler.service, handler)
        return bound

    def _bind(self, service: Definition, handler: Handler[Any]) -> BoundHandler[Any]:
        options = handler.options.over(service.options).over(self._defaults)
        return BoundHandler(service, handler, options, self._serdes_of(options))

    def _serdes_of(self, options: Options) -> Serdes:
        factory = options.serde or serde_for
        codec = options.codec or PLAIN
        return self._serdes.setdefault((id(factory), id(codec)), Serdes(factory, codec))

    # --- manifest

    def manifest(self, mode: ProtocolMode, *, lambda_compression: LambdaCompression | None = None) -> EndpointManifest:
        """Return what this endpoint tells about itself.

        Args:
            mode: how servers talk to it.
            lambda_compression: how bodies may be compressed, on AWS Lambda.

        Raises:
            UsageError: a workflow has no main handler.
        """
        return EndpointManifest(
            protocol_mode=mode,
            min_protocol_version=MIN_VERSION,
            max_protocol_version=MAX_VERSION,
            services=tuple(self._service_manifest(service) for service in self._services.values()),
            lambda_compression=lambda_compression,
        )

    def _service_manifest(self, service: Definition) -> ServiceManifest:
        if service.type is ServiceType.WORKFLOW and not any(
            handler.kind is HandlerKind.MAIN for handler in service.handlers.values()
        ):
            raise UsageError(f"workflow {service.name} has no main handler; decorate one with `.main`")
        handlers = tuple(self._handler_manifest(service, name) for name in service.handlers)
        return ServiceManifest(name=service.name, ty=service.type, handlers=handlers, **_fields(service.options))

    def _handler_manifest(self, service: Definition, name: str) -> HandlerManifest:
        bound = self.lookup(service.name, name)
        assert bound is not None
        handler = bound.handler
        own = handler.options
        if own.documentation is None and handler.fn.__doc__:
            own = own.over(Options(documentation=inspect.cleandoc(handler.fn.__doc__)))
        # A service cannot say this one in a manifest, only the handler that it is about.
        retention = bound.options.workflow_retention if handler.kind is HandlerKind.MAIN else None
        return HandlerManifest(
            name=name,
            ty=handler.kind.type,
            input=_input_payload(bound),
            output=_output_payload(bound),
            workflow_completion_retention=_milliseconds(retention),
            **_fields(own),
        )


def _input_payload(bound: BoundHandler[Any]) -> InputPayload:
    serde = bound.input
    if not bound.handler.takes_input or not serde.content_type:
        # Whatever comes is ignored: an input that is not needed is no reason to refuse a request.
        return InputPayload(required=False, content_type="*/*")
    # Raw bytes are not looked at, so no media type is wrong.
    accept = "*/*" if serde.content_type == OCTET_STREAM else serde.content_type
    return InputPayload(required=not serde.accepts_empty, content_type=accept, json_schema=serde.schema())


def _output_payload(bound: BoundHandler[Any]) -> OutputPayload:
    serde = bound.output
    if not serde.content_type:
        return OutputPayload()
    return OutputPayload(content_type=serde.content_type, json_schema=serde.schema())


class _OptionFields(TypedDict, total=False):
    """Options as the manifest names them, of services and handlers alike."""

    documentation: str | None
    metadata: dict[str, str] | None
    inactivity_timeout: int | None
    abort_timeout: int | None
    journal_retention: int | None
    idempotency_retention: int | None
    enable_lazy_state: bool | None
    ingress_private: bool | None
    retry_policy_initial_interval: int | None
    retry_policy_max_interval: int | None
    retry_policy_max_attempts: int | None
    retry_policy_exponentiation_factor: float | None
    retry_policy_on_max_attempts: OnMaxAttempts | None


def _fields(options: Options) -> _OptionFields:
    fields: _OptionFields = {
        "documentation": options.documentation,
        "metadata": None if options.metadata is None else dict(options.metadata),
        "inactivity_timeout": _milliseconds(options.inactivity_timeout),
        "abort_timeout": _milliseconds(options.abort_timeout),
        "journal_retention": _milliseconds(options.journal_retention),
        "idempotency_retention": _milliseconds(options.idempotency_retention),
        "enable_lazy_state": options.lazy_state,
        "ingress_private": options.ingress_private,
    }
    return fields if options.retry is None else fields | _retry_fields(options.retry)


def _retry_fields(policy: RetryPolicy) -> _OptionFields:
    longest = LONGEST_DELAY if policy.max_interval is None else policy.max_interval
    return {
        "retry_policy_initial_interval": _milliseconds(policy.initial_interval),
        "retry_policy_max_interval": _milliseconds(longest),
        "retry_policy_max_attempts": ANY_ATTEMPTS if policy.max_attempts is None else policy.max_attempts,
        "retry_policy_exponentiation_factor": policy.factor,
        "retry_policy_on_max_attempts": OnMaxAttempts.PAUSE if policy.on_exhausted == "pause" else OnMaxAttempts.KILL,
    }


def _milliseconds(seconds: float | None) -> int | None:
    """Whole milliseconds; what is more than nothing stays so, because 0 often means "at once"."""
    if seconds is None:
        return None
    return max(1, round(seconds * 1000)) if seconds else 0
