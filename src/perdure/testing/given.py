"""What a handler is given in memory: its input, and answers to what it asks of others, as the runtime stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.durable.outcome import failure_of
from perdure.durable.serde import decode_value, encode_value
from perdure.exceptions import TerminalError
from perdure.handlers.definitions import Handler
from perdure.handlers.registry import BoundHandler, Registry
from perdure.wire.messages import CallCommand, Failure, OneWayCallCommand, Value

__all__ = ["Given"]


class Given:
    """Values of the program, written as a runtime stores them.

    Args:
        registry: where handlers that are called are looked up.
        bound: the handler.
        arg: its input.
        key: of the object or workflow.
        headers: of the request.
        state: what the object holds.
        calls: results by handler of what is called.
        awakeables: results of awakeables, in the order of their creation.
        signals: names and values, in order of arrival.
        promises: what promises of the workflow were completed with.
        lazy_state: whether the handler has to ask for every key.

    Attributes:
        options: for `perdure.testing.runtime.InMemoryRuntime`.
        signals: named signals, written.
        awakeables: likewise.

    Raises:
        SerdeError: a value cannot be written.
    """

    def __init__(
        self,
        registry: Registry,
        bound: BoundHandler[Any],
        arg: Any,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        state: Mapping[str, Any] | None = None,
        calls: Mapping[Handler[Any], Any] | None = None,
        awakeables: Sequence[Any] = (),
        signals: Sequence[tuple[str, Any]] = (),
        promises: Mapping[str, Any] | None = None,
        lazy_state: bool = False,
    ) -> None:
        self._registry = registry
        self._serdes = bound.serdes
        self._calls = dict(calls or {})
        self.options: dict[str, Any] = {
            "payload": encode_value(bound.input, arg, f"the input of {bound.handler.path}"),
            "key": key or "",
            "headers": list((headers or {}).items()),
            "state": {name: self._value(value, f"state {name!r}") for name, value in (state or {}).items()},
            "lazy_state": lazy_state,
            "answer": self._answer,
            "promises": {name: self._written(value, f"promise {name!r}") for name, value in (promises or {}).items()},
        }
        self.signals: list[tuple[str, Value | Failure]] = [
            (name, self._written(value, f"signal {name!r}")) for name, value in signals
        ]
        self.awakeables: list[Value | Failure] = [self._written(value, "an awakeable") for value in awakeables]

    def _value(self, value: Any, of: str) -> bytes:
        return encode_value(self._serdes.of_value(value), value, of)

    def _written(self, value: Any, of: str) -> Value | Failure:
        return failure_of(value) if isinstance(value, TerminalError) else Value(self._value(value, of))

    def _answer(self, command: CallCommand | OneWayCallCommand) -> Value | Failure | None:
        for callee, given in self._calls.items():
            if (callee.service.name, callee.name) != (command.service_name, command.handler_name):
                continue
            result = given
            target = self._registry.bound(callee)
            if callable(result) and not isinstance(result, BaseException):
                argument = decode_value(target.input, command.parameter, f"the input of {callee.path}")
                result = result(argument) if callee.takes_input else result()
            if isinstance(result, TerminalError):
                return failure_of(result)
            return Value(encode_value(target.output, result, f"the result of {callee.path}"))
        return None
