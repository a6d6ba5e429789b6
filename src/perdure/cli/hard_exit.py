"""The end of a process that does not end.

A drain is bounded, but Python cannot stop everything: code that never lets the event loop run, a handler that swallows
its cancellation, a worker thread that blocks for ever. Whoever asked the process to end (an orchestrator, a terminal)
waits. So a thread of its own, which needs neither the event loop nor the interpreter's orderly shutdown, ends it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

__all__ = ["HardExit"]

EXIT_CODE: Final = 1


class HardExit:
    """Ends this process some seconds from now, unless it has ended before."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def arm(self, seconds: float) -> None:
        """End the process after this many seconds; replaces what was armed before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, _end, [seconds])
        self._timer.daemon = True
        self._timer.start()


def _end(seconds: float) -> None:
    print(f"perdure: something did not end within {seconds:g} seconds; ending the process hard", file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_CODE)
