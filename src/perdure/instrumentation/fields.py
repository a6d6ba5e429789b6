"""What a log record is told about the attempt it was written in."""

from __future__ import annotations

import enum
from typing import Final

from perdure.handlers.attempt import Attempt, current_attempt

__all__ = ["OWN_LOGGERS", "Replayed", "attempt_fields", "is_repeated"]

OWN_LOGGERS: Final = "perdure"
"""perdure's own records are about attempts, not written by them again: they are never dropped."""


class Replayed(enum.Enum):
    """What happens to a record that an earlier attempt has written already, or that comes from an attempt that is over.

    `DROP` silences it, `DEMOTE` makes it a debug record, `MARK` only marks it with `replaying=True`. The last two mark
    it as well.
    """

    DROP = "drop"
    DEMOTE = "demote"
    MARK = "mark"


def is_repeated(attempt: Attempt) -> bool:
    """Whether what is logged now is no news: the handler repeats its journal, or is being unwound."""
    return attempt.replaying or attempt.unwinding


def attempt_fields(attempt: Attempt | None = None) -> dict[str, object]:
    """What identifies an attempt in logs; empty outside of one.

    Keys: `invocation_id`, `service`, `handler`, `key` (objects and workflows), `attempt` (counted from 1).
    """
    attempt = attempt if attempt is not None else current_attempt.get()
    if attempt is None:
        return {}
    fields: dict[str, object] = {
        "invocation_id": attempt.invocation_id,
        "service": attempt.service,
        "handler": attempt.handler,
        "attempt": attempt.number,
    }
    if attempt.key is not None:
        fields["key"] = attempt.key
    return fields
