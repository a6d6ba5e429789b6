"""What the platform sets for every function."""

from __future__ import annotations

import pytest


@pytest.fixture
def function_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a function, and none of a snapshot or of concurrency."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    for name in ("AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_INITIALIZATION_TYPE", "_X_AMZN_TRACE_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def pytest_configure(config: pytest.Config) -> None:
    """The markers of the conformance suite, whose tests run here once more."""
    config.addinivalue_line("markers", "configurations(*names): the configurations that a conformance test runs in.")
    config.addinivalue_line("markers", "noisy: a conformance test in which something fails and is logged.")
