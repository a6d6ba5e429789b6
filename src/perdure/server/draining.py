"""How everybody learns that the server is about to end.

A drain has three moments:

1. It begins: `Drain.begun` is set. No connection is accepted any more, HTTP/2 peers get GOAWAY, and requests in
   progress go on. The application finds the event in every scope, the lifespan's too::

       scope["extensions"]["perdure.drain"] = {"draining": <anyio.Event>, "timeout": 10.0}

   An application that can hand back what it runs (perdure suspends its attempts) does so now; others just finish.
2. The last request ended: connections are closed, the lifespan ends, the server returns.
3. Or `timeout` seconds passed first, or somebody asked a second time: what still runs is cancelled.

The value is a plain dict, as ASGI has it for extensions, so that an application needs to import nothing. The event is
set once and never cleared.
"""

from __future__ import annotations

from typing import Any, Final, TypedDict

import anyio

__all__ = ["EXTENSION", "Drain", "DrainExtension"]

EXTENSION: Final = "perdure.drain"
"""The key in ``scope["extensions"]``."""


class DrainExtension(TypedDict):
    """What an application finds under `EXTENSION`."""

    draining: anyio.Event
    """Set when the server begins to end."""
    timeout: float
    """Seconds from then until requests that still run are cancelled."""


class Drain:
    """The state of one server's end, shared by its connections.

    Args:
        timeout: seconds between the beginning of the drain and the cancellation of what still runs.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.begun: anyio.Event = anyio.Event()

    def extend(self, scope: dict[str, Any]) -> None:
        """Put the extension into the scope of a request or of the lifespan."""
        extension = DrainExtension(draining=self.begun, timeout=self.timeout)
        scope.setdefault("extensions", {})[EXTENSION] = extension
