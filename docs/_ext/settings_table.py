"""The directive ``settings-table``: the limits of the server, their values and reasons, as the server holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from perdure.server import Settings

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx


class SettingsTable(SphinxDirective):
    """A definition list in MyST: a setting, its default, its reason."""

    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        lines = []
        for setting in Settings.explain():
            value = f"{setting.value:,}" if isinstance(setting.value, int) else f"{setting.value:g}"
            lines += [f"`{setting.name}` = {value} {setting.unit}", f": {setting.reason}", ""]
        return self.parse_content_to_nodes_of(lines)

    def parse_content_to_nodes_of(self, lines: list[str]) -> list[nodes.Node]:
        self.content = StringList(lines, source="perdure.server.settings")
        return self.parse_content_to_nodes()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings-table", SettingsTable)
    return {"parallel_read_safe": True}
