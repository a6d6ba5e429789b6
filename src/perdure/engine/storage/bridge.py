"""Back to the loop from another thread, on trio and on asyncio."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Protocol

__all__ = ["Post", "post_here"]


class Post(Protocol):
    """Runs a function on the loop, soon, in its own turn; may be called from any thread.

    Raises:
        RuntimeError: the loop has ended.
    """

    def __call__(self, function: Any, /, *args: Any) -> object:
        """Have `function(*args)` called."""
        ...


def post_here() -> Post:
    """The way back to the loop that runs here.

    Raises:
        RuntimeError: no loop runs here.
    """
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        post: Post = trio.lowlevel.current_trio_token().run_sync_soon
        return post
    return asyncio.get_running_loop().call_soon_threadsafe
