"""Which tests run in which configurations, and on which event loop of the endpoint.

The ordinary suite runs every test in the default and the always-suspending configuration on both loops, and in a few of
the others; which ones depends on its name, so that each of them gets its share. ``PERDURE_CONFORMANCE=full`` (the nox
session `conformance`) runs every test in every configuration on both.
"""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterator

import pytest

from tests.conformance.deployment import CONFIGURATIONS, Backend, Deployment, deploy

BACKENDS: tuple[Backend, Backend] = ("asyncio", "trio")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "configurations(*names): the configurations that a conformance test runs in.")
    config.addinivalue_line("markers", "noisy: a conformance test in which something fails and is logged.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "deployment" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("configurations")
    names = marker.args if marker is not None else _share(metafunc.definition.nodeid)
    chosen = [(name, backend) for name in names for backend in _backends(name)]
    metafunc.parametrize(
        "deployment", chosen, indirect=True, scope="session", ids=[f"{name}-{backend}" for name, backend in chosen]
    )


FULL = os.environ.get("PERDURE_CONFORMANCE") == "full"
ALWAYS = ("default", "suspending")
FURTHER = [name for name, one in CONFIGURATIONS.items() if name not in ALWAYS and not one.special]
SHARE = 1


def _share(test: str) -> list[str]:
    """The configurations that a test runs in when it does not say."""
    start = zlib.crc32(test.encode()) % len(FURTHER)
    return [*ALWAYS, *(FURTHER if FULL else [*FURTHER, *FURTHER][start : start + SHARE])]


def _backends(name: str) -> tuple[Backend, ...]:
    if FULL or name in ALWAYS or CONFIGURATIONS[name].special:
        return BACKENDS
    return (BACKENDS[list(CONFIGURATIONS).index(name) % 2],)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and "deployment" in item.fixturenames:
            item.add_marker("real_server")


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """The conformance endpoint in one configuration; pytest groups the tests so that one at a time is up."""
    name, backend = request.param
    with deploy(CONFIGURATIONS[name], backend) as deployed:
        yield deployed


@pytest.fixture
def key() -> str:
    """A key that no other test uses, with characters that must be quoted in a path."""
    return f"key/ä {uuid.uuid4()}"


@pytest.fixture(autouse=True)
def _quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is ordinary makes no noise: the endpoint logs nothing, and no attempt has to be retried."""
    if "deployment" not in request.fixturenames:
        yield
        return
    deployed = request.getfixturevalue("deployment")
    endpoint, server = len(deployed.endpoint.logs()), len(deployed.server.logs())
    yield
    if request.node.get_closest_marker("noisy") is None:
        assert deployed.endpoint.logs()[endpoint:] == ""
        retried = [line for line in deployed.server.logs()[server:].splitlines() if "Invocation error" in line]
        assert not retried, retried
