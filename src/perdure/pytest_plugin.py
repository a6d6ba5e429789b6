"""The pytest plugin that comes with perdure: embedded engines and a private real restate-server as fixtures.

It is loaded in every pytest run of an environment that has perdure, so loading it imports nothing but pytest; the rest
is imported when a test asks for the fixture.

::

    async def test_the_trial_ends(perdure_engine):         # in memory; months pass in milliseconds
        async with perdure_engine(subscriptions) as engine:
            assert await engine.call(trial, "ada", key="ada") == "ended"

    def test_greets(restate_server):                       # one server for all such tests of the module
        restate_server.register("http://127.0.0.1:9080")
        assert restate_server.call("/Greeter/greet", b'"Ada"').status == 200

    @pytest.mark.restate(protocol_v7=True)                 # on a test, a class or a module (pytestmark): another server
    def test_greets_on_seven(restate_server): ...

    @pytest.mark.parametrize("restate_server", [{}, {"always_suspend": True}], indirect=True)
    def test_greets_either_way(restate_server): ...        # once for each set of options

There is one server for each module and set of options (`perdure.testing.RestateOptions`); all of a module's servers run
until its last test has ended. Tests that share one need service names or keys of their own. The fixture has module
scope, so a fixture of the module may register endpoints with it once.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perdure.testing import EngineOpener, RestateOptions, RestateServer

__all__ = ["perdure_engine", "pytest_configure", "pytest_generate_tests", "restate_server"]

_FIXTURE = "restate_server"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known to ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        "restate(**options): the private restate-server of the fixture restate_server runs with these options; "
        "see perdure.testing.RestateOptions.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn the marker closest to a test into the parameter of its `restate_server`."""
    if _FIXTURE not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("restate")
    if marker is None:
        return
    if marker.args:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: the marker restate takes options by name only")
    identifier = "-".join(sorted(marker.kwargs)) or "default"
    metafunc.parametrize(_FIXTURE, [marker.kwargs], indirect=True, scope="module", ids=[identifier])


@pytest.fixture
def perdure_engine() -> EngineOpener:
    """What opens embedded engines in memory and in virtual time: call it with services, and enter what it returns.

    Its `clock` is the `perdure.testing.VirtualClock` of the engines.
    """
    from perdure.testing import EngineOpener  # noqa: PLC0415 (loading the plugin must not load perdure)

    return EngineOpener()


@pytest.fixture(scope="module")
def _restate_servers() -> Iterator[Callable[[RestateOptions], RestateServer]]:
    """The servers of this module by their options, started when they are first asked for."""
    from perdure.testing import RestateServer  # noqa: PLC0415 (loading the plugin must not load perdure)

    running: list[tuple[RestateOptions, RestateServer]] = []
    with ExitStack() as stack:

        def server_with(options: RestateOptions) -> RestateServer:
            for known, server in running:
                if known == options:
                    return server
            server = stack.enter_context(RestateServer(**options))
            running.append((options, server))
            return server

        yield server_with


@pytest.fixture(scope="module")
def restate_server(
    request: pytest.FixtureRequest, _restate_servers: Callable[[RestateOptions], RestateServer]
) -> RestateServer:
    """A private real restate-server, ready for calls; one for each module and set of options.

    Its methods block; `RestateServer.aio` has the same ones to be awaited. The options come from the marker
    ``restate(**options)`` or from an indirect parametrisation.
    """
    options: RestateOptions | None = getattr(request, "param", None)
    return _restate_servers(options or {})
