"""The directive ``exceptions-tree``: the tree in the docstring of `perdure.exceptions`, which tests hold to be true."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from perdure import exceptions

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def tree() -> str:
    """Return the part of the docstring that is the tree."""
    _, _, behind = (exceptions.__doc__ or "").partition("::\n\n")
    lines = behind.splitlines()
    end = next(number for number, line in enumerate(lines) if line and not line.startswith(" "))
    return textwrap.dedent("\n".join(lines[:end])).strip()


class ExceptionsTree(SphinxDirective):
    """The tree as a literal block."""

    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        text = tree()
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("exceptions-tree", ExceptionsTree)
    return {"parallel_read_safe": True}
