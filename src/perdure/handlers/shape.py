"""What a handler function looks like: its context, its input and its result, read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

from perdure.durable.annotations import evaluate, function_of
from perdure.exceptions import UsageError
from perdure.handlers import context as contexts

__all__ = ["Shape"]

_CONTEXTS: Final[Mapping[str, type]] = {name: getattr(contexts, name) for name in contexts.__all__}
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_UNKNOWN: Final[Any] = object()


class Shape:
    """The signature of a handler function, checked.

    The types are evaluated when they are asked for: a handler may name a class that its module defines further down.

    Args:
        fn: the function.
        where: whose handler it is, for errors: `Shop/checkout`.
        names: local names at the place where the function was defined, for annotations that are text.

    Raises:
        UsageError: it cannot be a handler; the message says why.
    """

    def __init__(self, fn: Callable[..., object], where: str, names: Mapping[str, Any] | None = None) -> None:
        self._where = where
        function = function_of(inspect.unwrap(fn)) if inspect.iscoroutinefunction(fn) else None
        if function is None:
            raise UsageError(f"{where}: a handler is an `async def` function, and {_called(fn)} is not one")
        self.function: FunctionType = function
        self._names = dict(names or {})
        parameters = list(inspect.signature(fn).parameters.values())
        self._check_parameters(parameters)
        self._context: Any = parameters[0].annotation
        self.takes_input: bool = len(parameters) == _WITH_INPUT
        self._input: Any = parameters[1].annotation if self.takes_input else None
        self._output: Any = inspect.signature(fn).return_annotation
        self._evaluated: dict[str, Any] = {}

    def _check_parameters(self, parameters: list[inspect.Parameter]) -> None:
        for parameter in parameters:
            if parameter.kind not in _POSITIONAL:
                raise UsageError(
                    f"{self._where}: a handler takes its context and at most one input, as plain parameters; "
                    f"`{parameter}` is not one. Put several values into one dataclass"
                )
        if not 1 <= len(parameters) <= _WITH_INPUT:
            given = ", ".join(parameter.name for parameter in parameters) or "none"
            raise UsageError(
                f"{self._where}: a handler takes its context and at most one input, not {len(parameters)} parameters "
                f"({given}). Put several values into one dataclass"
            )
        for parameter in parameters:
            if parameter.default is not parameter.empty:
                raise UsageError(
                    f"{self._where}: `{parameter.name}` has a default, but an input is sent or it is not, and a caller "
                    "never gets the default. Leave it out, and annotate the input `... | None` if it may be missing"
                )

    def check_context(self, context: type, kind: str) -> None:
        """Check that the annotation of the first parameter asks for no more than the handler gets.

        Args:
            context: the protocol of the context that it gets.
            kind: what kind of handler it is, in words.

        Raises:
            UsageError: it asks for another context.
        """
        asked = self._context
        if isinstance(asked, str):
            try:
                asked = evaluate(asked, self.function, self._names)
            except (NameError, AttributeError):
                # Imported below `if TYPE_CHECKING:` only. Its name tells enough.
                asked = _CONTEXTS.get(asked.rpartition(".")[2])
        if isinstance(asked, type) and asked in _CONTEXTS.values() and asked not in context.__mro__:
            raise UsageError(
                f"{self._where}: {kind} gets `{context.__name__}`, and {_called(self.function)} asks for "
                f"`{asked.__name__}`"
            )

    def input(self) -> Any:
        """Return the type of the input: `Any` when it has no annotation, `None` when there is no input.

        Raises:
            UsageError: the annotation cannot be evaluated.
        """
        return self._type("input", self._input)

    def output(self) -> Any:
        """Return the type of the result: `Any` when it has no annotation.

        Raises:
            UsageError: the annotation cannot be evaluated.
        """
        return self._type("result", self._output)

    def _type(self, what: str, annotation: Any) -> Any:
        known = self._evaluated.get(what, _UNKNOWN)
        if known is _UNKNOWN:
            known = self._evaluated[what] = self._evaluate(what, annotation)
        return known

    def _evaluate(self, what: str, annotation: Any) -> Any:
        if annotation is inspect.Parameter.empty:
            return Any
        if not isinstance(annotation, str):
            return annotation
        try:
            return evaluate(annotation, self.function, self._names)
        except (NameError, AttributeError, SyntaxError, TypeError) as error:
            raise UsageError(
                f"{self._where}: the {what} is annotated {annotation!r}, which cannot be evaluated: {error}. Import "
                "the name at run time, not below `if TYPE_CHECKING:`"
            ) from error


_WITH_INPUT: Final = 2


def _called(fn: Callable[..., object]) -> str:
    """Return the name of a function, with its line where there is one."""
    name = getattr(fn, "__qualname__", None) or repr(fn)
    code = getattr(fn, "__code__", None)
    return f"{name}() ({code.co_filename}:{code.co_firstlineno})" if code is not None else name
