"""What goes wrong with an endpoint over HTTP. Codes (`RT0010`, `META0003`) are Restate's, for those who know them."""

from __future__ import annotations

from perdure.exceptions import EngineError

__all__ = ["DiscoveryError", "RemoteError"]


class RemoteError(EngineError):
    """An exchange with an endpoint failed; the attempt that it carried is tried again.

    Attributes:
        infrastructure: whether the handler never came to hear of the attempt: there was no connection.
    """

    def __init__(self, message: str, *, infrastructure: bool = False) -> None:
        super().__init__(message)
        self.message: str = message
        self.infrastructure: bool = infrastructure


class DiscoveryError(EngineError):
    """An endpoint cannot be registered.

    Attributes:
        code: Restate's code for the cause, such as `META0003`; `None` where it has none.
        status: what an admin API answers.
    """

    def __init__(self, message: str, *, code: str | None = None, status: int = 500) -> None:
        super().__init__(f"[{code}] {message}" if code is not None else message)
        self.code: str | None = code
        self.status: int = status
