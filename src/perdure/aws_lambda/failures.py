"""Errors of the Lambda edge."""

from __future__ import annotations

from perdure.exceptions import PerdureError

__all__ = ["ConnectionLostError", "FunctionError", "PayloadError", "RuntimeApiError"]


class FunctionError(PerdureError):
    """Fails an invocation with an error type of your choice.

    Args:
        message: what went wrong, for the invoker.
        error_type: what the invoker sees as `errorType`; the name of the class when it is not given.
    """

    def __init__(self, message: str, *, error_type: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.error_type: str = error_type or type(self).__name__


class PayloadError(FunctionError):
    """The event is none that the function takes; the message names the field (`Runtime.UnmarshalError`)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_type="Runtime.UnmarshalError")


class RuntimeApiError(PerdureError):
    """The platform's API refused a call, or what answered is none.

    Attributes:
        status: the HTTP status; 0 when there was no answer.
        error_type: what the platform calls the error; empty when it did not say.
    """

    def __init__(self, message: str, *, status: int = 0, error_type: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.error_type = error_type


class ConnectionLostError(RuntimeApiError):
    """The platform's API cannot be reached, or went away before it answered.

    Attributes:
        sent: whether the request may have arrived.
        answered: whether a part of an answer came.
    """

    def __init__(self, message: str, *, sent: bool, answered: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.answered = answered
