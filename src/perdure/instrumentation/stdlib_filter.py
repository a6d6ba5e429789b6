"""The standard library's side: a filter for handlers."""

from __future__ import annotations

import logging

from perdure.handlers.attempt import current_attempt
from perdure.instrumentation.fields import OWN_LOGGERS, Replayed, attempt_fields, is_repeated

__all__ = ["AttemptFilter"]


class AttemptFilter(logging.Filter):
    """Puts the attempt into every record, and silences, demotes or marks what is repeated.

    Add it to *handlers*, not to loggers: a logger's filters do not see the records of its children, so those of other
    libraries would pass. A record gets the attributes `invocation_id`, `service`, `handler`, `attempt`, `key` and
    `replaying`; outside of attempts they are `None`, so that a format string may name them.

    Args:
        replayed: what happens to repeated records.
    """

    def __init__(self, replayed: Replayed = Replayed.DROP) -> None:
        super().__init__()
        self.replayed = replayed

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        attempt = current_attempt.get()
        fields = dict.fromkeys(("invocation_id", "service", "handler", "attempt", "key")) | attempt_fields(attempt)
        repeated = attempt is not None and is_repeated(attempt) and not _is_own(record)
        record.__dict__.update(fields, replaying=repeated)
        if repeated and self.replayed is Replayed.DROP:
            return False
        if repeated and self.replayed is Replayed.DEMOTE and record.levelno > logging.DEBUG:
            record.levelno = logging.DEBUG
            record.levelname = logging.getLevelName(logging.DEBUG)
        return True


def _is_own(record: logging.LogRecord) -> bool:
    return record.name == OWN_LOGGERS or record.name.startswith(f"{OWN_LOGGERS}.")
