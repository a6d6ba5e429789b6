"""Changes of what one process alone remembers: applied like rows, stored nowhere.

They are separate from rows because a crash takes them back for good: attempts, retry timers and callers in memory end
with the process. They change live entities only, and rows never do, so the two kinds commute; but a row that deletes or
ends an invocation leaves its live entity alone.
"""

from __future__ import annotations

import msgspec

from perdure.engine.entities import LiveEntity

__all__ = ["HoldKey", "LetKeyGo", "Note", "SetLive", "SetSuspects"]


class Note(msgspec.Struct, frozen=True, gc=False):
    """One change of what this process alone knows."""


class SetLive(Note, frozen=True):
    """What is known of an invocation from now on; an entity that is `empty` is dropped."""

    live: LiveEntity


class HoldKey(Note, frozen=True):
    """An attempt of a former holder of the key still runs: nobody else may start."""

    service: str
    key: str


class LetKeyGo(Note, frozen=True):
    """It has stopped."""

    service: str
    key: str


class SetSuspects(Note, frozen=True):
    """Who waits for its turn to be started alone, oldest first; the first of them is on trial."""

    numbers: tuple[int, ...]
