"""The benchmark's service with the official SDK, for an ASGI server."""

from core_apps import restate_app

app = restate_app()
