"""Errors of HTTP functions that are answers."""

from __future__ import annotations

from perdure.exceptions import PerdureError

__all__ = ["HttpError", "RequestBodyError"]


class HttpError(PerdureError):
    """Ends a request with a status. `http_service` answers with it; the invocation does not fail.

    Args:
        status: the HTTP status, from 400 on.
        message: for the client, in the JSON field `message`.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestBodyError(HttpError):
    """The body of a request is not what the function takes; the message says what is wrong with it."""
