"""``module:app``: importing the application that a command is about.

Whatever goes wrong is told in one line that says where: a user who mistyped a name needs no traceback, and one whose
module fails while it is imported needs the line that failed.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from perdure.exceptions import UsageError

__all__ = ["load_application"]

ASGIApp: TypeAlias = Any
"""Whatever can be called as ASGI 3 has it."""

ARGUMENTS: Final = ("scope", "receive", "send")


def load_application(path: str) -> ASGIApp:
    """Import an ASGI application.

    The current folder comes first on the import path, as it does for ``python -m``.

    Args:
        path: ``package.module:name``; the name may have dots, and is ``app`` when left out.

    Raises:
        UsageError: it cannot be imported, or it is no ASGI application.
    """
    module_name, _, name = path.partition(":")
    found: Any = _import(module_name, path)
    for part in (name or "app").split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{path}: {module_name} has no {name or 'app'}; write module:name") from None
    _check(found, path)
    return found


def _import(module_name: str, path: str) -> ModuleType:
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise UsageError(f"{path}: {module_name!r} is no name of a module; write module:name")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UsageError(f"{path}: there is no module {error.name}, neither installed nor in {here}") from None
        raise UsageError(_describe(path, error)) from error
    except (Exception, SystemExit) as error:
        raise UsageError(_describe(path, error)) from error


def _describe(path: str, error: BaseException) -> str:
    """One line for an error in the user's module: what, and where in their code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = [frame for frame in frames if frame.filename not in (__file__, importlib.__file__)]
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}:{error.lineno})"
        what = error.msg
    else:
        where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
        what = str(error)
    return f"{path}: importing it failed: {type(error).__name__}: {what}{where}"


def _check(found: object, path: str) -> None:
    """Tell what is no ASGI application before a request does."""
    if type(found).__module__.partition(".")[0] == "perdure" and not callable(found):
        kind = type(found).__name__
        raise UsageError(
            f"{path} is a {kind}, which an endpoint serves: app = perdure.Endpoint({path.partition(':')[2]})"
        )
    if not callable(found) or inspect.isclass(found):
        raise UsageError(f"{path} is no ASGI application but {_article(found)}")
    try:
        inspect.signature(found).bind(*ARGUMENTS)
    except TypeError:
        raise UsageError(
            f"{path} is no ASGI application: it cannot be called with ({', '.join(ARGUMENTS)})"
            + ("; WSGI is not served" if _takes(found, 2) else "")
        ) from None
    except ValueError:
        return  # something that has no signature to look at, such as a compiled function: a request will tell


def _takes(found: Any, count: int) -> bool:
    try:
        inspect.signature(found).bind(*range(count))
    except TypeError:
        return False
    return True


def _article(found: object) -> str:
    return f"the class {found.__name__}" if inspect.isclass(found) else f"an object of type {type(found).__name__}"
