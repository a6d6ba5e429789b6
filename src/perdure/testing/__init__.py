"""Tools for testing services, shipped with perdure: a private restate-server, endpoints in own processes."""

from __future__ import annotations

from perdure.testing.child_process import HarnessError
from perdure.testing.endpoint_process import EndpointProcess, serve_in_subprocess
from perdure.testing.restate_admin import AdminError
from perdure.testing.restate_options import RestateOptions
from perdure.testing.restate_process import AsyncRestateServer, RestateServer, restate_server

__all__ = [
    "AdminError",
    "AsyncRestateServer",
    "EndpointProcess",
    "HarnessError",
    "RestateOptions",
    "RestateServer",
    "restate_server",
    "serve_in_subprocess",
]
