"""Invocations seen from outside: wait for their results, or look whether there are any yet.

They are the counterparts of what `ctx.send` and `ctx.invocation` give to handlers, but plain awaitables: nothing here
is durable.
"""

from __future__ import annotations

import datetime as dt
from typing import Generic, Literal, TypeVar

from perdure.client.connection import Response
from perdure.client.exchange import Exchange, Readable, SendReceipt
from perdure.client.targets import InvocationTarget
from perdure.durable.combinators import Failed, Outcome, Succeeded
from perdure.durable.serde import Serde, decode_value
from perdure.exceptions import TerminalError

__all__ = ["IngressInvocation", "SentInvocation"]

R_co = TypeVar("R_co", covariant=True)


class IngressInvocation(Generic[R_co]):
    """An invocation whose result can be asked for; made by `Client.invocation` and its like."""

    def __init__(self, exchange: Exchange, target: Readable, serde: Serde[R_co]) -> None:
        self._exchange = exchange
        self._target = target
        self._serde = serde

    async def attach(self) -> R_co:
        """Wait for the result; it may be asked for any number of times.

        Raises:
            TerminalError: the invocation failed for good.
            IngressError: the server knows no such invocation (any more), or did not answer.
            SerdeError: the result is not of the type that was named.
            TimeoutError: there was none within the client's `timeout`; the invocation goes on.
        """
        response = await self._exchange.read(self._target, "attach")
        assert response is not None
        return self._decode(response)

    async def output(self) -> Outcome[R_co] | None:
        """Look at the outcome without waiting for it: `None` while there is none.

        ::

            match await invocation.output():
                case None: ...  # it is still running
                case Succeeded(value): ...
                case Failed(error): ...

        Raises:
            IngressError: the server knows no such invocation (any more), or did not answer.
            SerdeError: the result is not of the type that was named.
        """
        try:
            response = await self._exchange.read(self._target, "output")
        except TerminalError as error:
            return Failed(error)
        return None if response is None else Succeeded(self._decode(response))

    def _decode(self, response: Response) -> R_co:
        return decode_value(self._serde, response.body, f"the result of {self._target}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target}>"


class SentInvocation(IngressInvocation[R_co]):
    """An invocation that was sent.

    Attributes:
        invocation_id: its id (`inv_1...`).
        status: `Accepted` when it is new; `PreviouslyAccepted` when the server had it already, by its idempotency key
            or because a workflow runs once per key.
        execution_time: when it starts, if it was sent with a delay.
    """

    def __init__(self, exchange: Exchange, receipt: SendReceipt, serde: Serde[R_co]) -> None:
        super().__init__(exchange, InvocationTarget(receipt.invocation_id), serde)
        self.invocation_id: str = receipt.invocation_id
        self.status: Literal["Accepted", "PreviouslyAccepted"] = receipt.status
        self.execution_time: dt.datetime | None = receipt.execution_time
