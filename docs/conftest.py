"""Runs the code of the documentation: every block of Python, page by page, on both event loops.

A block may await at its top level. What a page should not show stands in a comment, ``% invisible-code-block: python``.
Where such a block leaves a text in the variable ``shown``, the next block of text on the page must be just that. The
tutorial is a story with files and processes, which `tests/docs/test_tutorial.py` follows.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import anyio
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser
from sybil.sybil import SybilCollection

from perdure.testing import run

__all__ = ["pytest_collect_file"]

sys.path.insert(0, str(Path(__file__).parent / "_ext"))


def python_on(backend: str) -> Any:
    """What runs a block of Python on an event loop."""

    def evaluate(example: Example) -> None:
        padding = "\n" * (example.line + example.parsed.line_offset)  # so that line numbers are those of the page
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(padding + example.parsed, example.path, "exec", flags=flags, dont_inherit=True)
        awaited = eval(code, example.namespace)  # noqa: S307 - the documentation's own code
        if inspect.iscoroutine(awaited):

            async def run() -> None:
                await awaited

            anyio.run(run, backend=backend)

    return evaluate


def text(example: Example) -> None:
    """Compare a block of text with what the page left to be shown; line breaks and indents do not matter."""
    shown = example.namespace.pop("shown", None)
    if shown is not None:
        assert example.parsed.split() == shown.split(), f"the page should show:\n{shown}"


async def error_in(handler: Any, arg: Any = None, **options: Any) -> str:
    """What a handler fails with when it runs in memory; places in the page are written as places in `shop.py`."""
    try:
        ran = await run(handler, arg, **options)
    except Exception as raised:  # noqa: BLE001 - it is what the page shows
        error = raised
        while isinstance(error, ExceptionGroup):
            [error] = error.exceptions
        return re.sub(r"[^\s(]*\.md:\d+", "shop.py:...", f"{type(error).__name__}: {error}")
    raise AssertionError(f"the page says that this fails, and it returned {ran.result!r}")


def sybil_on(backend: str) -> Sybil:
    parsers = [
        CodeBlockParser(language="python", evaluator=python_on(backend)),
        CodeBlockParser(language="text", evaluator=text),
    ]
    return Sybil(
        name=backend,
        parsers=parsers,
        patterns=["*.md"],
        excludes=["newsfragments/*", "tutorial/*"],
        setup=lambda namespace: namespace.update(__name__=f"docs_on_{backend}", error_in=error_in),
    )


pytest_collect_file = SybilCollection((sybil_on("asyncio"), sybil_on("trio"))).pytest()
