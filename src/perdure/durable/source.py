"""Which line of the user's program is at fault; asked only when something went wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

__all__ = ["parked_lines", "parked_location", "user_location"]

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_FOREIGN = ("/anyio/", "/trio/", "/asyncio/", "/contextlib.py")
_LOOPS = ("/asyncio/base_events.py", "/trio/_core/_run.py")


def _is_user_file(filename: str) -> bool:
    return not filename.startswith((_PACKAGE, "<")) and not any(part in filename for part in _FOREIGN)


def _describe(filename: str, line: int, function: str) -> str:
    return f"{filename}:{line} in {function}"


def user_location(frame: FrameType | None = None) -> str:
    """The innermost line outside perdure and the event loops, as `file:line in function`; empty without one."""
    current: FrameType | None = frame if frame is not None else sys._getframe(1)  # noqa: SLF001 - the documented way in
    while current is not None:
        if current.f_code.co_filename.endswith(_LOOPS):
            return ""  # what stands behind is where the loop was started
        if _is_user_file(current.f_code.co_filename):
            return _describe(current.f_code.co_filename, current.f_lineno, current.f_code.co_name)
        current = current.f_back
    return ""


def parked_lines(awaitable: object) -> list[str]:
    """The lines of the user's code at which a suspended coroutine waits, the innermost last."""
    lines: list[str] = []
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is not None and _is_user_file(frame.f_code.co_filename):
            lines.append(_describe(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
    return lines


def parked_location(awaitable: object) -> str:
    """The innermost line of the user's code at which a suspended coroutine waits; empty without one."""
    lines = parked_lines(awaitable)
    return lines[-1] if lines else ""
