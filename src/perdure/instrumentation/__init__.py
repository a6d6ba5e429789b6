"""Logs that know about replays: for structlog and for the standard library's logging.

A handler's code runs again in every attempt, so its log lines would be written again too. What is written while it only
repeats the journal, or while an attempt that is over is being unwound, can be dropped, demoted or marked; the records
of other libraries included. Everything else gets the invocation it belongs to.

Both work as plug-ins: nothing else of perdure has to be configured::

    structlog.configure(processors=[perdure.instrumentation.AttemptProcessor(), ...])

    for handler in logging.getLogger().handlers:
        handler.addFilter(perdure.instrumentation.AttemptFilter())
"""

from __future__ import annotations

from perdure.instrumentation.fields import Replayed, attempt_fields
from perdure.instrumentation.stdlib_filter import AttemptFilter
from perdure.instrumentation.structlog_processor import AttemptProcessor

__all__ = ["AttemptFilter", "AttemptProcessor", "Replayed", "attempt_fields"]
