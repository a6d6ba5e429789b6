"""One request and its answer, both flowing at the same time, whichever version of HTTP carries them."""

from __future__ import annotations

from typing import Protocol

import msgspec

from perdure.client.connection import Headers

__all__ = ["Head", "RemoteExchange"]


class Head(msgspec.Struct, frozen=True):
    """The beginning of an answer."""

    status: int
    headers: Headers


class RemoteExchange(Protocol):
    """One request to an endpoint.

    Every method but `abandon` and `release` raises `RemoteError` when the peer is gone or breaks HTTP.
    """

    async def send(self, data: bytes) -> None:
        """Send a piece of the request's body; waits while the peer takes no more."""
        ...

    async def end(self) -> None:
        """End the request."""
        ...

    async def head(self) -> Head:
        """Wait for the beginning of the answer."""
        ...

    async def receive(self) -> bytes | None:
        """The next piece of the answer's body, never empty; `None` at its end. The peer is held back until then."""
        ...

    async def release(self) -> None:
        """The answer has said all that matters: end the request, and let the connection go on to others."""
        ...

    async def abandon(self) -> None:
        """Break the exchange off, if it is not over; at once, also while being cancelled."""
        ...
