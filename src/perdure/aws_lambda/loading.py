"""Finding the handler that the platform names."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from perdure.exceptions import UsageError

__all__ = ["load_handler"]


def load_handler(name: str | None = None) -> Any:
    """Import the handler `module.function` (or `module:function`, or `folder/module.function`).

    Args:
        name: of the handler; the variable `_HANDLER` when it is not given.

    Raises:
        UsageError: there is no such name, or no such module; what the module raises is raised as it is.
    """
    name = os.environ.get("_HANDLER", "") if name is None else name
    module_name, _, attribute = name.rpartition(":") if ":" in name else name.rpartition(".")
    if not module_name or not attribute:
        raise UsageError(f"the handler is called {name!r}; write it like module.function")
    root = os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd()  # noqa: PTH109 - an entry of sys.path is a text
    if root not in sys.path:
        sys.path.insert(0, root)
    module_name = module_name.replace("/", ".")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise  # a module that the handler needs
        raise UsageError(f"there is no module {module_name} for the handler {name!r} in {root}") from exc
    handler: Any = module
    for part in attribute.split("."):
        try:
            handler = getattr(handler, part)
        except AttributeError as exc:
            raise UsageError(f"the module {module_name} has no {attribute} for the handler {name!r}") from exc
    return handler
