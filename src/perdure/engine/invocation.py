"""Invocations of the embedded engine, seen from the program that opened it.

They are the counterparts of what `ctx.send` and `ctx.invocation` give to handlers, and of what `perdure.Client` gives
to other programs. They are ordinary awaits: a cancelled one ends the waiting, not the invocation.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from perdure.durable.combinators import Failed, Outcome, Succeeded
from perdure.durable.outcome import failure_of
from perdure.durable.serde import decode_value
from perdure.exceptions import TerminalError
from perdure.wire.ids import format_invocation_id
from perdure.wire.messages import Value

if TYPE_CHECKING:
    from perdure.durable.serde import Serde
    from perdure.engine.engine import Engine
    from perdure.engine.outputs import Accepted

__all__ = ["EngineInvocation", "EngineSignal", "SentToEngine"]

R_co = TypeVar("R_co", covariant=True)


class EngineSignal:
    """A named signal of an invocation; made by `EngineInvocation.signal`."""

    __slots__ = ("_engine", "_id", "_name")

    def __init__(self, engine: Engine, id: bytes, name: str) -> None:
        self._engine = engine
        self._id = id
        self._name = name

    def __repr__(self) -> str:
        return f"<EngineSignal {self._name} of {format_invocation_id(self._id)}>"

    async def resolve(self, value: object = None, *, serde: Serde[Any] | None = None) -> None:
        """Send the signal with a value, and return when it is stored. It is kept until the invocation waits for it.

        Raises:
            IngressError: there is no such invocation.
            SerdeError: the value cannot be written.
        """
        data = self._engine.write(value, serde, f"the value of signal {self._name!r}")
        await self._engine.send_signal(self._id, self._name, Value(data))

    async def reject(self, message: str, *, code: int = 500) -> None:
        """Send the signal as a failure: whoever waits for it gets a `TerminalError`.

        Raises:
            IngressError: there is no such invocation.
        """
        await self._engine.send_signal(self._id, self._name, failure_of(TerminalError(message, code=code)))


class EngineInvocation(Generic[R_co]):
    """An invocation; made by `Engine.invocation`.

    Attributes:
        invocation_id: its id (`inv_1...`).
    """

    def __init__(self, engine: Engine, id: bytes, serde: Serde[R_co]) -> None:
        self.invocation_id: str = format_invocation_id(id)
        self._engine = engine
        self._id = id
        self._serde = serde

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.invocation_id}>"

    async def attach(self) -> R_co:
        """Wait for the result; it may be asked for any number of times.

        Raises:
            TerminalError: the invocation failed for good.
            IngressError: there is no such invocation (any more).
            SerdeError: the result is not of the type that was named.
        """
        content = await self._engine.result_of(self._id)
        return decode_value(self._serde, content, f"the result of {self.invocation_id}")

    async def output(self) -> Outcome[R_co] | None:
        """Look at the outcome without waiting for it: `None` while there is none.

        Raises:
            IngressError: there is no such invocation (any more).
            SerdeError: the result is not of the type that was named.
        """
        try:
            content = await self._engine.output_of(self._id)
        except TerminalError as error:
            return Failed(error)
        if content is None:
            return None
        return Succeeded(decode_value(self._serde, content, f"the result of {self.invocation_id}"))

    async def cancel(self) -> None:
        """Cancel it. It is told, and may still clean up or even go on; this does not wait for it.

        Raises:
            IngressError: there is no such invocation, or it has ended.
        """
        await self._engine.cancel_by_id(self._id)

    async def kill(self) -> None:
        """End it and all it called and sent, at once and without compensation.

        Raises:
            IngressError: there is no such invocation, or it has ended.
        """
        await self._engine.kill_by_id(self._id)

    def signal(self, name: str) -> EngineSignal:
        """Return its signal of this name, to resolve or reject it."""
        return EngineSignal(self._engine, self._id, name)


class SentToEngine(EngineInvocation[R_co]):
    """An invocation that was sent.

    Attributes:
        status: `Accepted` when it is new; `PreviouslyAccepted` when the engine had it already, by its idempotency key
            or because a workflow runs once per key.
        execution_time: when it starts, if it was sent with a delay.
    """

    def __init__(self, engine: Engine, serde: Serde[R_co], accepted: Accepted) -> None:
        super().__init__(engine, accepted.id, serde)
        self.status: Literal["Accepted", "PreviouslyAccepted"] = (
            "PreviouslyAccepted" if accepted.previously else "Accepted"
        )
        self.execution_time: dt.datetime | None = (
            dt.datetime.fromtimestamp(accepted.start_at / 1000, dt.UTC) if accepted.start_at else None
        )
