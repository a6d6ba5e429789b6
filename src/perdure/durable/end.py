"""How an attempt can end."""

from __future__ import annotations

import enum

__all__ = ["End"]


class End(enum.Enum):
    """How an attempt ended."""

    ENDED = "ended"
    SUSPENDED = "suspended"
    FAILED = "failed"
    DISCONNECTED = "disconnected"
    CANCELLED = "cancelled"
