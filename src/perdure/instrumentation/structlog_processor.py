"""The structlog side: a processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from perdure.handlers.attempt import current_attempt
from perdure.instrumentation.fields import Replayed, attempt_fields, is_repeated

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

__all__ = ["AttemptProcessor"]


class AttemptProcessor:
    """Binds the attempt to every event, and silences, demotes or marks what is repeated.

    Put it early: what it drops costs nothing more. Keys that the event has already are left as they are. In a chain
    that also formats the standard library's records (`structlog.stdlib.ProcessorFormatter`), put it into
    `foreign_pre_chain` only with `Replayed.MARK` or `DEMOTE`; to drop those records use `AttemptFilter`.

    Args:
        replayed: what happens to repeated events.
    """

    def __init__(self, replayed: Replayed = Replayed.DROP) -> None:
        self.replayed = replayed

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
        """Process one event.

        Raises:
            structlog.DropEvent: it is repeated, and repeated events are dropped.
        """
        del logger, method_name  # part of the interface of processors
        attempt = current_attempt.get()
        if attempt is None:
            return event_dict
        if is_repeated(attempt):
            if self.replayed is Replayed.DROP:
                raise structlog.DropEvent
            event_dict["replaying"] = True
            if self.replayed is Replayed.DEMOTE:
                event_dict["level"] = "debug"
        for name, value in attempt_fields(attempt).items():
            event_dict.setdefault(name, value)
        return event_dict
