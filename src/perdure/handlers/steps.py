"""The functions that handlers give to `ctx.run`: what they are called, how they run, how their results are written.

A handler may make its step functions anew for every call (lambdas, partials, nested functions), and a step costs a few
microseconds in all, so what can be known from the code object is looked up by it and not asked of `inspect` again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any, Final

from perdure.durable.codec import Serdes
from perdure.durable.serde import Serde, decode_value, encode_value
from perdure.exceptions import TerminalError
from perdure.wire.messages import Result, Value

__all__ = ["MAX_PAYLOAD", "Step", "Steps", "check_size", "reader"]

MAX_PAYLOAD: Final = 32 * 1024 * 1024 - 64 * 1024
"""Bytes. restate-server refuses messages above 32 MiB (RT0003) and would retry them for ever."""

_MOST_CODES: Final = 4096


def check_size(data: bytes, of: str) -> bytes:
    """Return `data`, unless a runtime would refuse it.

    Raises:
        TerminalError: 413; it is larger than a journal entry may be.
    """
    if len(data) > MAX_PAYLOAD:
        raise TerminalError(
            f"{of} is {len(data):,} bytes long, and a journal entry can hold {MAX_PAYLOAD:,}: store it elsewhere and "
            "journal where it is",
            code=413,
        )
    return data


def reader(serde: Serde[Any], of: str, *, blame: str = "") -> Callable[[Result], Any]:
    """A function from a journaled result to its value."""
    decode = serde.decode

    def read(result: Result) -> Any:
        data = result.content if isinstance(result, Value) else b""
        try:
            return decode(data)
        except Exception:  # noqa: BLE001 - read again, to say whose value it was
            return decode_value(serde, data, of, blame=blame)

    return read


_ANOTHER_TYPE: Final = (
    "The step returned another type than its annotation says: correct the annotation, or name the type with returns=. "
    "If the annotation was changed since the step ran, the journal still holds a value of the old type"
)


def _writer(serde: Serde[Any], of: str) -> Callable[[Any], bytes]:
    encode = serde.encode

    def write(value: Any) -> bytes:
        try:
            data = encode(value)
        except Exception:  # noqa: BLE001 - written again, to say whose value it was
            data = encode_value(serde, value, of)
        return data if len(data) <= MAX_PAYLOAD else check_size(data, of)

    return write


def _is_plain(fn: Callable[..., Any]) -> bool:
    """Whether calling `fn` does the work, instead of returning something to await."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.iscoroutinefunction(fn):
        return False
    return not inspect.iscoroutinefunction(getattr(type(fn), "__call__", None))  # noqa: B004 - the function is wanted


def _name_of(fn: Callable[..., Any]) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return "step" if name == "<lambda>" else str(name)


class Step:
    """What is known of a step function.

    Attributes:
        name: of its journal entries.
        plain: whether it runs in a worker thread.
        write: from its result to bytes.
        read: from the journaled result to its value.
    """

    __slots__ = ("code", "name", "plain", "read", "serde", "write")

    def __init__(self, fn: Callable[..., Any], serde: Serde[Any], code: CodeType | None = None) -> None:
        self.name: str = _name_of(fn)
        self.plain: bool = _is_plain(fn)
        self.serde: Serde[Any] = serde
        self.code: CodeType | None = code
        of = f"the result of step {self.name!r}"
        self.write: Callable[[Any], bytes] = _writer(serde, of)
        self.read: Callable[[Result], Any] = reader(serde, of, blame=_ANOTHER_TYPE)


class Steps:
    """The step functions of one handler, as they become known."""

    __slots__ = ("_by_code", "_serdes")

    def __init__(self, serdes: Serdes) -> None:
        self._serdes = serdes
        self._by_code: dict[int, Step] = {}

    def of(self, fn: Callable[..., Any]) -> Step:
        """What is known of `fn`, whose annotation says the type of its result.

        Raises:
            UsageError: values of that type cannot be written.
        """
        serde = self._serdes.of_result(fn)
        code: CodeType | None = getattr(fn, "__code__", None)
        if code is None:
            return Step(fn, serde)
        step = self._by_code.get(id(code))
        if step is None or step.code is not code or step.serde is not serde:
            if len(self._by_code) >= _MOST_CODES:
                self._by_code.clear()
            step = self._by_code[id(code)] = Step(fn, serde, code)
        return step
