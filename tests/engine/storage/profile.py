"""How much is tried: little in the default suite, much with the environment variable PERDURE_STORAGE=full."""

from __future__ import annotations

import os
from typing import Final

import pytest

FULL: Final = os.environ.get("PERDURE_STORAGE") == "full"


PATIENCE: Final = pytest.mark.timeout(3600 if FULL else 120)
"""For tests whose length depends on the profile."""


def scaled(default: int, full: int) -> int:
    """A number of examples, rounds, or images."""
    return full if FULL else default
