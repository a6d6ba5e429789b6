"""One HTTP request and its answer, whatever server carries them.

`Endpoint.handle` takes an `Exchange`; `perdure.asgi` makes one of an ASGI scope, and any other server can make its own
in a page of code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Exchange"]


class Exchange(Protocol):
    """One HTTP request, and the means to answer it.

    Attributes:
        method: `GET`, `POST`.
        path: of the request, percent-decoded, without the query.
        headers: names and values as they came, names in any case.
    """

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]

    async def receive(self) -> bytes | None:
        """The next piece of the request body; `None` at its end.

        Called again after that, it waits until the peer is gone.

        Raises:
            perdure.durable.driver.Disconnected: the peer is gone.
        """
        ...

    async def respond(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Begin the answer."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a piece of the body, never an empty one."""
        ...

    async def finish(self) -> None:
        """End the answer."""
        ...
