"""The one error of the server."""

from __future__ import annotations

from perdure.exceptions import PerdureError

__all__ = ["ServerError"]


class ServerError(PerdureError):
    """The server could not start, or its application could not: a taken port, a lifespan that failed."""
