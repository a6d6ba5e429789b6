"""Embedded engines for tests: in memory, and in virtual time."""

from __future__ import annotations

import os
from typing import Any

from perdure.asgi import Endpoint
from perdure.engine.engine import Engine, open_engine
from perdure.handlers.definitions import Definition
from perdure.testing.virtual_clock import VirtualClock

__all__ = ["EngineOpener"]


class EngineOpener:
    """Opens embedded engines for tests; the fixture `perdure_engine` is one.

    ::

        async def test_the_trial_ends(perdure_engine):
            async with perdure_engine(subscriptions) as engine:
                await engine.send(trial, "ada", key="ada")
                await perdure_engine.clock.advance(timedelta(days=30).total_seconds())
                assert await engine.call(state_of, key="ada") == "ended"

    Attributes:
        clock: the time of all its engines; it moves when nothing else can happen, or when it is told to.
    """

    def __init__(self) -> None:
        self.clock: VirtualClock = VirtualClock()

    def __call__(
        self, *services: Definition | Endpoint, path: str | os.PathLike[str] = ":memory:", **options: Any
    ) -> Engine:
        """Return an engine, to be entered with `async with`.

        Args:
            services: what it runs: services, or one endpoint.
            path: of its file; name one to see what becomes of work when the engine is opened again.
            options: of `perdure.open_engine`.
        """
        match services:
            case [Endpoint() as endpoint]:
                pass
            case _:
                endpoint = Endpoint(*services)  # type: ignore[arg-type]  # it refuses what is no service, and says so
        return open_engine(path, endpoint, clock=self.clock, **options)
