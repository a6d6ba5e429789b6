"""The benchmark's service with perdure, for an ASGI server."""

from core_apps import perdure_app

app = perdure_app()
