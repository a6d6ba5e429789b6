"""Configuration of Sphinx. The documentation builds without network: external names are not looked up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import perdure
import perdure.aws_lambda
import perdure.aws_lambda.events
import perdure.aws_lambda.extensions
import perdure.aws_lambda.http
from perdure.wire.versions import SDK_VERSION

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "perdure"
author = "the perdure authors"
project_copyright = author
release = version = SDK_VERSION

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "exceptions_tree",
    "settings_table",
    "state_diagram",
]
exclude_patterns = ["_build", "newsfragments"]
html_theme = "furo"
html_title = f"perdure {release}"
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

default_role = "code"  # docstrings are prose with code in it, not links
add_module_names = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

nitpick_ignore_regex = [
    # Names of other projects: their inventories are not fetched.
    (r"py:.*", r"(anyio|trio|msgspec|structlog|pytest)(\..*)?"),
    (r"py:.*", r"(asyncio|collections|contextlib|datetime|enum|functools|logging|os|pathlib|random|ssl)(\..*)?"),
    (r"py:.*", r"(types|typing|typing_extensions|uuid)(\..*)?"),
    (r"py:.*", r"(list\[)?dict\[str"),  # a string annotation, cut at its comma
    (r"py:.*", r"(AbstractAsyncContextManager|Any|Awaitable|Callable|Iterable|Mapping|Sequence|TypeForm|timedelta)"),
    # Type variables and parameters of signatures.
    (r"py:.*", r"(.*\.)?(P|R|T|U|V|In|C|R_co|T_co|Ts|T\d|C\d|P\.(args|kwargs))"),
    # What stands behind public names and is described with them.
    (r"py:.*", r"perdure\.(aws_lambda|client|cli|durable|engine|handlers|machine|server|structured|testing|wire)\..*"),
    (r"py:.*", r"(ASGIApp|Accepted|Callee|Clock|Definition|HandlerKind|Quiet|Receiver|Serdes|ServerError|Shape)"),
    (r"py:.*", r"(Receive|Scope|Send|SignatureBackend|VerifySignature)"),
]

NAMESPACES: tuple[Any, ...] = (
    perdure,
    perdure.aws_lambda,
    perdure.aws_lambda.events,
    perdure.aws_lambda.http,
    perdure.aws_lambda.extensions,
)
"""Where public names are; the first that has one is meant."""


def resolve_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.Element | None:
    """Lead a reference to the module that a public name lives in to where that name is documented."""
    name = node.get("reftarget", "").rpartition(".")[2]
    home = next((module.__name__ for module in NAMESPACES if name in module.__all__), None)
    if node.get("refdomain") != "py" or home is None:
        return None
    domain: Any = env.get_domain("py")
    resolved: nodes.Element | None = domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"{home}.{name}", node, contnode
    )
    return resolved


def leave_colons_alone(*event: Any) -> None:
    """Keep napoleon from taking the words before a colon for a type, where a docstring is of an attribute."""
    _, what, _, _, _, lines = event
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = f": {lines[0]}"


def leave_out_constructors_of_protocols(*event: Any) -> tuple[str, None] | None:
    """Protocols are not made by calling them: do not show how."""
    _, what, _, documented, *_ = event
    return ("", None) if what == "class" and getattr(documented, "_is_protocol", False) else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", leave_out_constructors_of_protocols)
    app.connect("autodoc-process-docstring", leave_colons_alone, priority=400)  # before napoleon
    app.connect("missing-reference", resolve_public_name)
