"""The public names: each in one place, loaded when it is used, and the same for the interpreter and type checkers."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import perdure

SOURCE = Path(perdure.__file__).read_text()


def seen_by_type_checkers() -> dict[str, str]:
    """Return the public names and their modules as the imports of ``perdure/__init__.py`` tell a type checker."""
    (block,) = [
        node for node in ast.parse(SOURCE).body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node)
    ][:1]
    found = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"{node.module}" for node in found for alias in node.names}


def test_the_interpreter_and_type_checkers_find_the_same_names_in_the_same_modules() -> None:
    assert seen_by_type_checkers() == perdure._HOME_OF


def test_every_public_name_is_exported() -> None:
    assert sorted(perdure.__all__) == sorted(perdure._HOME_OF)


@pytest.mark.parametrize("name", perdure.__all__)
def test_a_public_name_is_what_its_module_calls_it(name: str) -> None:
    assert getattr(perdure, name) is getattr(importlib.import_module(perdure._HOME_OF[name]), name)


def test_no_public_name_hides_a_module() -> None:
    assert not {module.name for module in pkgutil.iter_modules(perdure.__path__)} & set(perdure.__all__)


def test_public_names_are_listed_before_they_are_loaded() -> None:
    program = "import perdure; print(set(perdure.__all__) <= set(dir(perdure)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "True\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'perdure' has no attribute 'Nonsense'"):
        _ = perdure.Nonsense  # type: ignore[attr-defined] # the point of the test


def test_importing_the_package_loads_none_of_it() -> None:
    program = "import sys, perdure; print([name for name in sys.modules if name.startswith('perdure.')])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
