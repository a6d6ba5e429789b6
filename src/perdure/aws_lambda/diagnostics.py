"""What the platform is told about an error: type, message, stack trace, and the cause for X-Ray.

The platform keeps the type of an error only when it reads like ``Function.Something`` or ``Runtime.Something``; the
plain name of the exception goes into the body, where the invoker sees it.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Final

import msgspec

__all__ = ["ERROR_CONTENT_TYPE", "Diagnostic", "StackFrame", "diagnose"]

ERROR_CONTENT_TYPE: Final = "application/vnd.aws.lambda.error+json"

MESSAGE_LIMIT: Final = 64 * 1024
"""Characters of a message that are reported: the body of an error report has a limit of 1 MiB."""

FRAME_LIMIT: Final = 100
"""Frames that are reported, the innermost ones."""

CAUSE_LIMIT: Final = 256 * 1024
"""Bytes that the cause for X-Ray may have; it travels in a header."""

NAMESPACES: Final = ("Runtime.", "Function.", "Extension.", "Sandbox.")
_OWN_FOLDER: Final = __file__.rpartition(os.sep)[0] + os.sep


class StackFrame(msgspec.Struct, frozen=True):
    """One frame of a stack trace.

    Attributes:
        path: of the file.
        line: its number.
        label: the function.
        source: the text of the line, empty when it is not known.
    """

    path: str
    line: int
    label: str
    source: str = ""

    def __str__(self) -> str:
        """As a traceback shows it."""
        first = f'  File "{self.path}", line {self.line}, in {self.label}\n'
        return f"{first}    {self.source}\n" if self.source else first


class Diagnostic(msgspec.Struct, frozen=True):
    """An error, ready to be reported.

    Attributes:
        error_type: the name that the invoker sees.
        error_message: what went wrong.
        frames: where, the innermost last.
    """

    error_type: str
    error_message: str
    frames: tuple[StackFrame, ...] = ()

    @property
    def header(self) -> str:
        """The type as the platform keeps it."""
        if self.error_type.startswith(NAMESPACES):
            return self.error_type
        name = "".join(
            letter for letter in self.error_type if letter.isascii() and (letter.isalnum() or letter in "._")
        )
        return f"Function.{name[:1].upper()}{name[1:]}" if name[:1].isalpha() else "Function.Unknown"

    def body(self, request_id: str = "") -> bytes:
        """The JSON that the invoker sees."""
        fields: dict[str, object] = {
            "errorMessage": self.error_message,
            "errorType": self.error_type,
            "stackTrace": [str(frame) for frame in self.frames],
        }
        if request_id:
            fields["requestId"] = request_id
        return msgspec.json.encode(fields)

    def xray_cause(self) -> str | None:
        """The JSON that X-Ray shows, in ASCII; `None` when it would be too large for a header."""
        import json  # noqa: PLC0415 - only errors need it: msgspec does not write ASCII

        stack = [{"label": frame.label, "path": frame.path, "line": frame.line} for frame in reversed(self.frames)]
        cause = json.dumps(
            {
                "working_directory": _working_directory(),
                "exceptions": [{"message": self.error_message, "type": self.error_type, "stack": stack}],
                "paths": sorted({frame.path for frame in self.frames}),
            }
        )
        return cause if len(cause) <= CAUSE_LIMIT else None


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a text is wanted
    except OSError:  # it was removed
        return ""


def diagnose(error: BaseException) -> Diagnostic:
    """Describe an exception.

    A group with a single leaf is described as that leaf: a task group around one failing task tells nothing new. Other
    groups list their leaves in the message. An attribute `error_type` of the exception names its type.
    """
    leaves = list(_leaves(error))
    if len(leaves) == 1:
        error = leaves[0]
        message = str(error)
    else:
        listed = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves)
        message = f"{error}: {listed}"
    if len(message) > MESSAGE_LIMIT:
        message = f"{message[:MESSAGE_LIMIT]}... ({len(message)} characters)"
    chosen = getattr(error, "error_type", "")
    name = chosen if isinstance(chosen, str) and chosen else type(error).__name__
    return Diagnostic(name, message, tuple(_frames(error.__traceback__))[-FRAME_LIMIT:])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _frames(trace: TracebackType | None) -> Iterator[StackFrame]:
    """Give the frames, without those of this package through which every invocation goes first."""
    own = True
    for summary in traceback.extract_tb(trace):
        own = own and summary.filename.startswith(_OWN_FOLDER)
        if not own:
            yield StackFrame(summary.filename, summary.lineno or 0, summary.name, summary.line or "")
