"""What the annotations of a function say.

Programs that write ``from __future__ import annotations`` hand over text, and linters move imports that only
annotations need below ``if TYPE_CHECKING``. So every annotation is evaluated on its own, only when its type is needed:
the one that cannot be evaluated must not spoil the others.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import FunctionType, SimpleNamespace
from typing import Any, Final, get_args, get_origin

from perdure.exceptions import UsageError

__all__ = ["caller_locals", "evaluate", "function_of", "return_annotation"]


def function_of(fn: Callable[..., object]) -> FunctionType | None:
    """Return the plain function that runs when `fn` is called, or `None` when there is none written in Python.

    Looks through `functools.partial`, bound methods and objects with `__call__`. Wrappers made with `functools.wraps`
    carry the annotations of what they wrap and are not looked through.
    """
    seen: Any = fn
    while not isinstance(seen, FunctionType):
        if isinstance(seen, functools.partial):
            seen = seen.func
        elif inspect.ismethod(seen):
            seen = seen.__func__
        else:
            called = getattr(type(seen), "__call__", None)  # noqa: B004 - the function is wanted, not whether there is one
            if not isinstance(called, FunctionType):
                return None
            seen = called
    return seen


def evaluate(annotation: Any, fn: FunctionType, names: Mapping[str, Any] | None = None) -> Any:
    """Return the type that an annotation of `fn` means.

    Args:
        annotation: as it stands in `fn.__annotations__`: a type, or text.
        fn: the function; its module, its type parameters and what it closes over are looked in for names.
        names: more names, such as the locals of the function that `fn` was defined in.

    Raises:
        NameError: a name in the text is not known at run time.
    """
    local_names = {**(names or {}), **_closed_over(fn)}
    local_names.update((parameter.__name__, parameter) for parameter in getattr(fn, "__type_params__", ()))
    holder = SimpleNamespace(__annotations__={"it": annotation})
    hints = typing.get_type_hints(holder, fn.__globals__, local_names, include_extras=True)
    return hints["it"]


def _closed_over(fn: FunctionType) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # bound later, as the name of a recursive function is
            continue
    return names


_AWAITABLES: Final = frozenset({Awaitable, Coroutine})


def return_annotation(fn: Callable[..., object]) -> Any:
    """Return the type of what calling `fn`, and awaiting what that returns, gives in the end.

    `Any` when the function does not say, `None` when it never returns.

    Raises:
        UsageError: the annotation cannot be evaluated at run time.
    """
    function = function_of(fn)
    if function is None:
        # A class makes instances of itself; anything else that is not written in Python says nothing.
        return fn if isinstance(fn, type) else Any
    annotation = function.__annotations__.get("return", Any)
    if isinstance(annotation, str):
        try:
            annotation = evaluate(annotation, function)
        except (NameError, AttributeError, SyntaxError, TypeError) as error:
            raise UsageError(
                f"{function.__qualname__}() returns {annotation!r}, which cannot be evaluated in module "
                f"{function.__module__}: {error}. Make the name known at run time (not below `if TYPE_CHECKING:`, not "
                "local to a function), or say what is returned with `returns=` or `serde=`"
            ) from error
    if annotation in (typing.NoReturn, typing.Never):
        return None
    origin: Any = get_origin(annotation)
    if origin in _AWAITABLES and not inspect.iscoroutinefunction(function):
        return get_args(annotation)[-1]
    return annotation


def caller_locals(depth: int) -> dict[str, Any]:
    """Return the local names of the function that called, `depth` calls up; none when a module called."""
    frame = sys._getframe(depth + 1)  # noqa: SLF001 - the documented way to a frame
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
