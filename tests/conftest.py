"""Fixtures for every test: which event loops an async test runs on."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every async test runs on asyncio and on trio (module scope: Hypothesis refuses narrower fixtures)."""
    return request.param
