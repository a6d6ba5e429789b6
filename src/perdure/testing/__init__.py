"""Tools for testing services: handlers run or explored in memory, a private restate-server, endpoints to kill."""

from __future__ import annotations

from perdure.testing.child_process import HarnessError
from perdure.testing.endpoint_process import EndpointProcess, serve_in_subprocess
from perdure.testing.engines import EngineOpener
from perdure.testing.explore import Exploration, ExplorationError, explore
from perdure.testing.restate_admin import AdminError
from perdure.testing.restate_options import RestateOptions
from perdure.testing.restate_process import AsyncRestateServer, RestateServer, restate_server
from perdure.testing.run import Ran, run
from perdure.testing.runtime import InMemoryRuntime
from perdure.testing.virtual_clock import VirtualClock

__all__ = [
    "AdminError",
    "AsyncRestateServer",
    "EndpointProcess",
    "EngineOpener",
    "Exploration",
    "ExplorationError",
    "HarnessError",
    "InMemoryRuntime",
    "Ran",
    "RestateOptions",
    "RestateServer",
    "VirtualClock",
    "explore",
    "restate_server",
    "run",
    "serve_in_subprocess",
]
