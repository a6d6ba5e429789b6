"""Log records as the platform wishes them: JSON lines or text, with the invocation they belong to.

The keys are those of the managed Python runtime, so filters and dashboards made for it work. `LambdaFilter` puts the
invocation into records of the standard library, `LambdaProcessor` into events of structlog; neither imports structlog.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import msgspec

from perdure.aws_lambda.context import current_context

__all__ = [
    "FramedHandler",
    "JsonFormatter",
    "LambdaFilter",
    "LambdaProcessor",
    "TextFormatter",
    "configure_logging",
]

_PLAIN: Final = logging.LogRecord("", 0, "", 0, "", (), None).__dict__.keys() | {
    "message",
    "asctime",
    "taskName",
    "aws_request_id",
    "tenant_id",
    "trace_id",
}
"""What every record has; everything else was given as `extra`."""

FRAME: Final = 0xA55A0000
"""What the type of every frame on the platform's log descriptor begins with."""

FRAME_LEVELS: Final = {
    logging.DEBUG: 0x08,
    logging.INFO: 0x0C,
    logging.WARNING: 0x10,
    logging.ERROR: 0x14,
    logging.CRITICAL: 0x18,
}
FRAME_JSON: Final = 0x02
FRAME_TEXT: Final = 0x03


class LambdaFilter(logging.Filter):
    """Puts `aws_request_id`, `trace_id` and `tenant_id` into every record; `None` outside of an invocation.

    Add it to handlers, not to loggers: a logger's filters do not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark a record; none is left out."""
        context = current_context.get()
        record.aws_request_id = context.request_id if context else None
        record.trace_id = context.trace_id if context else None
        record.tenant_id = context.tenant_id if context else None
        return True


class LambdaProcessor:
    """Binds `request_id`, `trace_id` and `tenant_id` to every event of structlog; keys that are there stay.

    Programs whose processors begin with `structlog.contextvars.merge_contextvars` need it not: the runtime binds the
    same keys there.
    """

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Process one event."""
        del logger, method_name  # part of the interface of processors
        if (context := current_context.get()) is not None:
            event_dict.setdefault("request_id", context.request_id)
            if context.trace_id is not None:
                event_dict.setdefault("trace_id", context.trace_id)
            if context.tenant_id is not None:
                event_dict.setdefault("tenant_id", context.tenant_id)
        return event_dict


def _timestamp(created: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{whole}.{int(created % 1 * 1000):03}Z"


class JsonFormatter(logging.Formatter):
    """One JSON object per record, with the keys of the managed runtime; `extra` fields stand beside them."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        plain = isinstance(record.msg, dict) and not record.args
        fields: dict[str, Any] = {
            "timestamp": _timestamp(record.created),
            "level": record.levelname,
            "message": record.msg if plain else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, trace = record.exc_info
            fields["stackTrace"] = traceback.format_tb(trace)
            fields["errorType"] = kind.__name__
            fields["errorMessage"] = str(error)
            fields["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        for key, name in (("requestId", "aws_request_id"), ("tenantId", "tenant_id")):
            if (value := getattr(record, name, None)) is not None:
                fields[key] = value
        fields |= {key: value for key, value in record.__dict__.items() if key not in _PLAIN and key not in fields}
        return _ENCODER.encode(fields).decode()


class TextFormatter(logging.Formatter):
    """`[LEVEL] timestamp request-id message`, separated by tabs as the managed runtime does."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        request_id = getattr(record, "aws_request_id", None) or ""
        line = f"[{record.levelname}]\t{_timestamp(record.created)}\t{request_id}\t{record.getMessage()}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


class FramedHandler(logging.Handler):
    """Writes records to the platform's own descriptor: type, length and time before each, so that lines stay whole.

    Args:
        descriptor: of the file, from `_LAMBDA_TELEMETRY_LOG_FD`.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            message = self.format(record).encode()
            level = min(max(record.levelno, 0), logging.CRITICAL) // 10 * 10
            kind = FRAME | FRAME_LEVELS.get(level, 0) | (FRAME_JSON if self._is_json else FRAME_TEXT)
            head = kind.to_bytes(4, "big") + len(message).to_bytes(4, "big")
            frame = memoryview(head + int(record.created * 1_000_000).to_bytes(8, "big") + message)
            while frame:
                frame = frame[os.write(self._descriptor, frame) :]
        except Exception:  # noqa: BLE001 - as every handler of the standard library: a log line must not fail the program
            self.handleError(record)

    @property
    def _is_json(self) -> bool:
        return isinstance(self.formatter, JsonFormatter)


def _write_other(value: object) -> str:
    return str(value)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_write_other)


def configure_logging(env: Mapping[str, str] | None = None, *, stream: TextIO | None = None) -> None:
    """Configure the root logger as the function's settings say; a program that has done so already is left alone.

    `AWS_LAMBDA_LOG_FORMAT` chooses between `JSON` and text, `AWS_LAMBDA_LOG_LEVEL` the level (INFO for JSON, else
    WARNING, as in the managed runtime).

    Args:
        env: in place of the environment of this process.
        stream: where lines go when the platform gave no descriptor of its own; standard output.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    env = os.environ if env is None else env
    as_json = env.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    descriptor = env.get("_LAMBDA_TELEMETRY_LOG_FD", "")
    handler: logging.Handler = (
        FramedHandler(int(descriptor)) if descriptor.isdecimal() else logging.StreamHandler(stream or sys.stdout)
    )
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    handler.addFilter(LambdaFilter())
    root.addHandler(handler)
    level = env.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = {"TRACE": "DEBUG", "FATAL": "CRITICAL"}.get(level, level)
    fallback = "INFO" if as_json else "WARNING"
    root.setLevel(level if level in logging.getLevelNamesMapping() else fallback)
