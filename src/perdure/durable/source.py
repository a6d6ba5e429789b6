"""Which line of the user's program is at fault; asked only when something went wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType, TracebackType

__all__ = ["await_location", "user_location"]

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_FOREIGN = ("/anyio/", "/trio/", "/asyncio/", "/contextlib.py")


def _is_user_file(filename: str) -> bool:
    return not filename.startswith((_PACKAGE, "<")) and not any(part in filename for part in _FOREIGN)


def _describe(filename: str, line: int, function: str) -> str:
    return f"{filename}:{line} in {function}"


def user_location(frame: FrameType | None = None) -> str:
    """The innermost line outside perdure and the event loops, as `file:line in function`; empty without one."""
    current: FrameType | None = frame if frame is not None else sys._getframe(1)  # noqa: SLF001 - the documented way in
    while current is not None:
        if _is_user_file(current.f_code.co_filename):
            return _describe(current.f_code.co_filename, current.f_lineno, current.f_code.co_name)
        current = current.f_back
    return ""


def await_location(traceback: TracebackType | None) -> str:
    """The innermost line of a traceback outside perdure and the event loops; empty without one."""
    location = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if _is_user_file(code.co_filename):
            location = _describe(code.co_filename, traceback.tb_lineno, code.co_name)
        traceback = traceback.tb_next
    return location
