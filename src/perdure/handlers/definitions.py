"""Services as data: what there is to be called, before anything runs.

A definition knows its name, its kind, its options and its handlers. Manifest, command line, engine and docs read it
without an event loop. Decorating a function makes a handler object out of it: the object is how other handlers name it
(`ctx.call(checkout, order)`), and it can still be called with a context, for tests.

There is one class with a kind. `Service`, `VirtualObject` and `Workflow` add only the decorators that their kind has,
each typed by the context that its handlers get.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, Unpack, cast, overload

from perdure.durable.annotations import caller_locals
from perdure.exceptions import UsageError
from perdure.handlers.calls import Request, TypedCallOptions, TypedSendOptions
from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.options import OptionFields, Options
from perdure.handlers.shape import Shape
from perdure.wire.manifest import HandlerType, ServiceType, validate_handler_name, validate_service_name

if TYPE_CHECKING:
    from typing import Self

    from perdure.durable.codec import Serdes
    from perdure.durable.serde import Serde

__all__ = [
    "Definition",
    "Handler",
    "HandlerKind",
    "InputlessObjectHandler",
    "InputlessServiceHandler",
    "ObjectDecorator",
    "ObjectHandler",
    "Service",
    "ServiceDecorator",
    "ServiceHandler",
    "VirtualObject",
    "Workflow",
]

C = TypeVar("C", bound=Context)
In = TypeVar("In")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class HandlerKind(enum.Enum):
    """What a handler may do and how its invocations exclude each other.

    Attributes:
        words: the kind, as a message says it.
        type: the kind, as the manifest says it.
        context: the protocol of the context that the handler gets.
    """

    SERVICE = ("a handler of a service", None, Context)
    EXCLUSIVE = ("an exclusive handler of a virtual object", HandlerType.EXCLUSIVE, ObjectContext)
    SHARED = ("a shared handler of a virtual object", HandlerType.SHARED, SharedObjectContext)
    MAIN = ("the main handler of a workflow", HandlerType.WORKFLOW, WorkflowContext)
    BESIDE_MAIN = ("a handler of a workflow", HandlerType.SHARED, SharedWorkflowContext)

    def __init__(self, words: str, type_: HandlerType | None, context: type) -> None:
        self.words = words
        self.type = type_
        self.context = context

    @property
    def keyed(self) -> bool:
        """Whether an invocation has a key."""
        return self is not HandlerKind.SERVICE


# --- handlers ------------------------------------------------------------------------------------------------------


class Handler(Generic[R_co]):
    """A handler: a function, where it belongs, and what was said about it. Decorators make it.

    Attributes:
        service: the definition it was registered with.
        name: its name there.
        kind: what it may do.
        fn: the function.
        options: its own options; those of the service stand behind them.
        takes_input: whether there is an input.
    """

    def __init__(
        self,
        *,
        service: Definition,
        name: str,
        kind: HandlerKind,
        fn: Callable[..., Coroutine[Any, Any, R_co]],
        shape: Shape,
        options: Options,
        input: Serde[Any] | None,  # noqa: A002 - as the decorator calls it
        output: Serde[Any] | None,
    ) -> None:
        self.service = service
        self.name = name
        self.kind = kind
        self.fn = fn
        self.options = options
        self.takes_input: bool = shape.takes_input
        self._shape = shape
        self._input = input
        self._output = output
        functools.update_wrapper(cast("Callable[..., Any]", self), fn, updated=())

    @property
    def path(self) -> str:
        """The handler as messages name it: `Shop/checkout`."""
        return f"{self.service.name}/{self.name}"

    def input_serde(self, serdes: Serdes) -> Serde[Any]:
        """Return what reads the input, and writes it for a call. Without an input it is that of `None`.

        Raises:
            UsageError: the annotation cannot be evaluated, or values of its type cannot be written.
        """
        return serdes.of(self._shape.input()) if self._input is None else serdes.coded(self._input)

    def output_serde(self, serdes: Serdes) -> Serde[Any]:
        """Return what writes the result, and reads it for a call.

        Raises:
            UsageError: the annotation cannot be evaluated, or values of its type cannot be written.
        """
        return serdes.of(self._shape.output()) if self._output is None else serdes.coded(self._output)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def _request(self, arg: Any, key: Any, options: Any, known: frozenset[str]) -> Request[R_co]:
        if options:
            self._check_call_options(options, known)
        if key is not None and not isinstance(key, str):
            raise UsageError(f"the key of {self.path} is text, not {key!r}")
        return Request(self, arg, key, options)

    def _check_call_options(self, options: Any, known: frozenset[str]) -> None:
        unknown = options.keys() - known
        if unknown:
            raise UsageError(
                f"a call of {self.path} has no option {', '.join(map(repr, sorted(unknown)))}; there are "
                f"{', '.join(sorted(known))}"
            )
        if self.kind is HandlerKind.MAIN and options.get("idempotency_key") is not None:
            raise UsageError(f"{self.path} runs once per key: an idempotency key has no meaning there, leave it out")


_CALL_OPTIONS: Final = frozenset(TypedCallOptions.__annotations__)
_SEND_OPTIONS: Final = frozenset(TypedSendOptions.__annotations__)


class ServiceHandler(Handler[R_co], Generic[In, R_co]):
    """A handler of a service, with an input."""

    def __call__(self, ctx: Context, arg: In, /) -> Coroutine[Any, Any, R_co]:
        """Run the function itself with a context of your own, as in a test."""
        return self.fn(ctx, arg)

    def call_request(self, arg: In, /, **options: Unpack[TypedCallOptions]) -> Request[R_co]:
        """Return a call of this handler as data; `ctx.call` takes the same arguments."""
        return self._request(arg, None, options, _CALL_OPTIONS)

    def send_request(self, arg: In, /, **options: Unpack[TypedSendOptions]) -> Request[R_co]:
        """Return a one-way call of this handler as data; `ctx.send` takes the same arguments."""
        return self._request(arg, None, options, _SEND_OPTIONS)


class InputlessServiceHandler(Handler[R_co]):
    """A handler of a service, without input."""

    def __call__(self, ctx: Context, /) -> Coroutine[Any, Any, R_co]:
        """Run the function itself with a context of your own, as in a test."""
        return self.fn(ctx)

    def call_request(self, /, **options: Unpack[TypedCallOptions]) -> Request[R_co]:
        """Return a call of this handler as data; `ctx.call` takes the same arguments."""
        return self._request(None, None, options, _CALL_OPTIONS)

    def send_request(self, /, **options: Unpack[TypedSendOptions]) -> Request[R_co]:
        """Return a one-way call of this handler as data; `ctx.send` takes the same arguments."""
        return self._request(None, None, options, _SEND_OPTIONS)


class ObjectHandler(Handler[R_co], Generic[C, In, R_co]):
    """A handler with a key, of a virtual object or a workflow, with an input.

    `C` says which kind it is: the context that it gets.
    """

    def __call__(self, ctx: C, arg: In, /) -> Coroutine[Any, Any, R_co]:
        """Run the function itself with a context of your own, as in a test."""
        return self.fn(ctx, arg)

    def call_request(self, arg: In, /, *, key: str, **options: Unpack[TypedCallOptions]) -> Request[R_co]:
        """Return a call of this handler as data; `ctx.call` takes the same arguments."""
        return self._request(arg, key, options, _CALL_OPTIONS)

    def send_request(self, arg: In, /, *, key: str, **options: Unpack[TypedSendOptions]) -> Request[R_co]:
        """Return a one-way call of this handler as data; `ctx.send` takes the same arguments."""
        return self._request(arg, key, options, _SEND_OPTIONS)


class InputlessObjectHandler(Handler[R_co], Generic[C, R_co]):
    """A handler with a key, of a virtual object or a workflow, without input."""

    def __call__(self, ctx: C, /) -> Coroutine[Any, Any, R_co]:
        """Run the function itself with a context of your own, as in a test."""
        return self.fn(ctx)

    def call_request(self, /, *, key: str, **options: Unpack[TypedCallOptions]) -> Request[R_co]:
        """Return a call of this handler as data; `ctx.call` takes the same arguments."""
        return self._request(None, key, options, _CALL_OPTIONS)

    def send_request(self, /, *, key: str, **options: Unpack[TypedSendOptions]) -> Request[R_co]:
        """Return a one-way call of this handler as data; `ctx.send` takes the same arguments."""
        return self._request(None, key, options, _SEND_OPTIONS)


_FORMS: Final[Mapping[tuple[bool, bool], type[Handler[Any]]]] = {
    (False, True): ServiceHandler,
    (False, False): InputlessServiceHandler,
    (True, True): ObjectHandler,
    (True, False): InputlessObjectHandler,
}
"""The class of a handler by whether it has a key, and whether it has an input."""


# --- decorators ----------------------------------------------------------------------------------------------------


class _Decorator:
    """Registers functions as handlers of one kind; given only options, it makes a decorator that has them."""

    def __init__(self, service: Definition, kind: HandlerKind, settings: Mapping[str, Any] | None = None) -> None:
        self._service = service
        self._kind = kind
        self._settings = dict(settings or {})

    def _decorate(self, fn: Any, settings: Mapping[str, Any]) -> Any:
        if fn is None:
            return type(self)(self._service, self._kind, {**self._settings, **settings})
        if settings:
            raise UsageError(
                f"{self._service.name}: name the options of a handler in the decorator, as in @shop.handler(name=...)"
            )
        return self._service._register(self._kind, fn, caller_locals(2), **self._settings)  # noqa: SLF001 - its own part


class ServiceDecorator(_Decorator):
    """`@service.handler`, bare or with options."""

    @overload
    def __call__(self, fn: Callable[[Context], Coroutine[Any, Any, R]], /) -> InputlessServiceHandler[R]: ...
    @overload
    def __call__(self, fn: Callable[[Context, In], Coroutine[Any, Any, R]], /) -> ServiceHandler[In, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        input: Serde[Any] | None = None,
        output: Serde[Any] | None = None,
        options: Options | None = None,
        **fields: Unpack[OptionFields],
    ) -> ServiceDecorator: ...
    def __call__(self, fn: Any = None, /, **settings: Any) -> Any:
        """Register a function as a handler, or return this decorator with options.

        Args:
            fn: an `async def` function of a context and at most one input.
            settings: `name` where it is not the function's; `input` and `output`, serdes in place of those of the
                annotations; and options, as an object or one by one (`OptionFields`).

        Raises:
            UsageError: this cannot be a handler; the message says why.
        """
        return self._decorate(fn, settings)


class ObjectDecorator(_Decorator, Generic[C]):
    """`@object.handler`, `@object.shared`, `@workflow.main` and `@workflow.handler`, bare or with options."""

    @overload
    def __call__(self, fn: Callable[[C], Coroutine[Any, Any, R]], /) -> InputlessObjectHandler[C, R]: ...
    @overload
    def __call__(self, fn: Callable[[C, In], Coroutine[Any, Any, R]], /) -> ObjectHandler[C, In, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        input: Serde[Any] | None = None,
        output: Serde[Any] | None = None,
        options: Options | None = None,
        **fields: Unpack[OptionFields],
    ) -> ObjectDecorator[C]: ...
    def __call__(self, fn: Any = None, /, **settings: Any) -> Any:
        """Register a function as a handler, or return this decorator with options, as `ServiceDecorator` does."""
        return self._decorate(fn, settings)


# --- services ------------------------------------------------------------------------------------------------------


class Definition:
    """A service of any kind: a name, options, and a table of handlers.

    Args:
        name: by which runtimes and other programs know it.
        options: what holds for all its handlers; as an `Options` object, as keyword arguments (see `OptionFields`), or
            both, the keywords winning.

    Raises:
        UsageError: the name or an option cannot be registered; the message says why.
    """

    type: ClassVar[ServiceType]

    def __init__(self, name: str, *, options: Options | None = None, **fields: Unpack[OptionFields]) -> None:
        if not isinstance(name, str):
            raise UsageError(f"a {self._words()} needs a name, as in {type(self).__name__}('Shop'), not {name!r}")
        validate_service_name(name)
        self.name = name
        self.options: Options = Options(**fields).over(options or Options())
        self._check_options(self.options)
        self._handlers: dict[str, Handler[Any]] = {}

    @property
    def handlers(self) -> Mapping[str, Handler[Any]]:
        """The handlers by name, in the order of their registration. Read-only."""
        return MappingProxyType(self._handlers)

    def with_options(self, options: Options | None = None, **fields: Unpack[OptionFields]) -> Self:
        """Return this service with other options, to be bound: `Endpoint(shop.with_options(ingress_private=True))`.

        What is said here stands in place of what the service said; its handlers are the same objects, and their own
        options still win. Handlers that are registered later belong to both.
        """
        copy = object.__new__(type(self))
        copy.name = self.name
        copy.options = Options(**fields).over(options or Options()).over(self.options)
        copy._handlers = self._handlers
        copy._check_options(copy.options)
        return copy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, handlers={list(self._handlers)})"

    @classmethod
    def _words(cls) -> str:
        return cls.type.value.lower().replace("_", " ")

    def _check_options(self, options: Options) -> None:
        if options.lazy_state is not None and self.type is ServiceType.SERVICE:
            raise UsageError(
                f"{self.name}: lazy_state has no meaning for a service: only objects and workflows have state"
            )
        if options.workflow_retention is not None and self.type is not ServiceType.WORKFLOW:
            raise UsageError(f"{self.name}: workflow_retention is for workflows, and this is a {self._words()}")

    def _register(
        self,
        kind: HandlerKind,
        fn: Any,
        names: Mapping[str, Any],
        *,
        name: str | None = None,
        input: Serde[Any] | None = None,  # noqa: A002 - as the decorator calls it
        output: Serde[Any] | None = None,
        options: Options | None = None,
        **fields: Unpack[OptionFields],
    ) -> Handler[Any]:
        if isinstance(fn, Handler):
            raise UsageError(
                f"{fn!r} is a handler already; decorate its function, `{fn.name}.fn`, to register it again"
            )
        if name is None:
            name = str(getattr(fn, "__name__", fn))
        where = f"{self.name}/{name}"
        shape = Shape(fn, where, names)
        validate_handler_name(name)
        if name in self._handlers:
            raise UsageError(f"{where} is defined twice; give one of the two another name=")
        shape.check_context(kind.context, kind.words)
        own = Options(**fields).over(options or Options())
        self._check_handler_options(kind, where, own)
        form = _FORMS[kind.keyed, shape.takes_input]
        handler = self._handlers[name] = form(
            service=self, name=name, kind=kind, fn=fn, shape=shape, options=own, input=input, output=output
        )
        return handler

    def _check_handler_options(self, kind: HandlerKind, where: str, options: Options) -> None:
        self._check_options(options)
        if options.idempotency_retention is not None and kind is HandlerKind.MAIN:
            raise UsageError(
                f"{where}: {kind.words} runs once per key; say workflow_retention, not idempotency_retention"
            )
        if options.workflow_retention is not None and kind is not HandlerKind.MAIN:
            raise UsageError(
                f"{where}: workflow_retention is for the workflow or its main handler, and this is {kind.words}"
            )
        if kind is HandlerKind.MAIN and any(other.kind is kind for other in self._handlers.values()):
            raise UsageError(f"{where}: {self.name} has a main handler already, and a workflow has one")


class Service(Definition):
    """Handlers without a key or state; any number of invocations at a time.

    ::

        shop = Service("Shop")

        @shop.handler
        async def checkout(ctx: Context, order: Order) -> Receipt: ...
    """

    type = ServiceType.SERVICE

    @property
    def handler(self) -> ServiceDecorator:
        """Decorator of handlers, bare or with options."""
        return ServiceDecorator(self, HandlerKind.SERVICE)


class VirtualObject(Definition):
    """Handlers with a key and state under that key.

    Exclusive handlers (`handler`) run one at a time per key and write state, shared ones (`shared`) run beside them and
    only read.
    """

    type = ServiceType.VIRTUAL_OBJECT

    @property
    def handler(self) -> ObjectDecorator[ObjectContext]:
        """Decorator of exclusive handlers, bare or with options."""
        return ObjectDecorator(self, HandlerKind.EXCLUSIVE)

    @property
    def shared(self) -> ObjectDecorator[SharedObjectContext]:
        """Decorator of shared handlers, bare or with options."""
        return ObjectDecorator(self, HandlerKind.SHARED)


class Workflow(Definition):
    """One main handler that runs once per key, and handlers beside it that talk with it through durable promises."""

    type = ServiceType.WORKFLOW

    @property
    def main(self) -> ObjectDecorator[WorkflowContext]:
        """Decorator of the main handler, bare or with options."""
        return ObjectDecorator(self, HandlerKind.MAIN)

    @property
    def handler(self) -> ObjectDecorator[SharedWorkflowContext]:
        """Decorator of the other handlers, bare or with options. They run beside the main one and only read state."""
        return ObjectDecorator(self, HandlerKind.BESIDE_MAIN)
