"""Fixtures for every test: which event loops an async test runs on."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

# A deadline measures the machine, which may be busy. What a test costs is counted where it matters.
hypothesis.settings.register_profile("perdure", deadline=None)
hypothesis.settings.load_profile("perdure")


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every async test runs on asyncio and on trio (module scope: Hypothesis refuses narrower fixtures)."""
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the fixture `restate_server`, so that the fast profile can leave it out."""
    for item in items:
        if isinstance(item, pytest.Function) and "restate_server" in item.fixturenames:
            item.add_marker("real_server")
