"""The state of an object as the handler sees it: what came with the start message, plus its own writes."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.wire.messages import StateEntry

__all__ = ["StateView"]


class StateView:
    """Known keys and values, and whether unknown keys are absent or merely not sent.

    A write or clear is visible to later reads of the same attempt at once. `clear_all` makes a partial view whole:
    whatever was not sent along is gone too.
    """

    __slots__ = ("_values", "partial")

    def __init__(self, entries: Iterable[StateEntry] = (), *, partial: bool = True) -> None:
        self._values: dict[bytes, bytes | None] = {entry.key: entry.value for entry in entries}
        self.partial: bool = partial

    def knows(self, key: bytes) -> bool:
        """Whether the value of `key`, or its absence, is known without asking the runtime."""
        return not self.partial or key in self._values

    def get(self, key: bytes) -> bytes | None:
        """The value of a known key, `None` when it is absent."""
        return self._values.get(key)

    def keys(self) -> tuple[bytes, ...] | None:
        """All keys, sorted; `None` when some may not have been sent."""
        if self.partial:
            return None
        return tuple(sorted(key for key, value in self._values.items() if value is not None))

    def set(self, key: bytes, value: bytes) -> None:
        """The handler wrote a key."""
        self._values[key] = value

    def clear(self, key: bytes) -> None:
        """The handler removed a key."""
        self._values[key] = None

    def clear_all(self) -> None:
        """The handler removed every key."""
        self._values.clear()
        self.partial = False
