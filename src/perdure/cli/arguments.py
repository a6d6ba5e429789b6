"""Arguments that several commands take: ports and lengths of time, checked while they are parsed."""

from __future__ import annotations

from typing import Final

__all__ = ["LEVELS", "port", "seconds"]

LEVELS: Final = ("debug", "info", "warning", "error")
HIGHEST_PORT: Final = 65535
LONGEST: Final = 7 * 24 * 3600
"""Seconds; what is larger is a mistake."""


def port(text: str) -> int:
    """Read a port; 0 lets the system choose.

    Raises:
        ValueError: it is none.
    """
    number = int(text)
    if not 0 <= number <= HIGHEST_PORT:
        raise ValueError(text)
    return number


def seconds(text: str) -> float:
    """Read a length of time of at most a week.

    Raises:
        ValueError: it is none.
    """
    number = float(text)
    if not 0 <= number <= LONGEST:
        raise ValueError(text)
    return number
