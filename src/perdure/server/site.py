"""What all connections of one server share."""

from __future__ import annotations

from typing import Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.typing import WorkerContext as HypercornWorkerContext

from perdure.server.applications import ASGIApp
from perdure.server.draining import Drain
from perdure.server.hypercorn_config import HypercornConfig, HypercornContext
from perdure.server.settings import Settings

__all__ = ["Site"]


class Site:
    """The application, its settings and its end, as the connections need them.

    Args:
        application: the ASGI application.
        settings: limits and timeouts.
        drain: how the server ends.
        state: what the application's lifespan stored; each request gets a copy.
    """

    def __init__(self, application: ASGIApp, settings: Settings, drain: Drain, state: dict[str, Any]) -> None:
        self.application = application
        self.settings = settings
        self.drain = drain
        self.state: ConnectionState = ConnectionState(state)
        self.config: HypercornConfig = HypercornConfig(settings)
        self.context: HypercornWorkerContext = cast("HypercornWorkerContext", HypercornContext(drain))
        self.app: AppWrapper = ASGIWrapper(application)
        """For hypercorn's constructors only; `Applications` calls the application itself."""
