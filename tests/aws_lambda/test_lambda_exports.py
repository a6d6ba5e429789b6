"""The public names of the edge: loaded when they are used, and the same for type checkers."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import perdure.aws_lambda

SOURCE = Path(perdure.aws_lambda.__file__).read_text(encoding="utf-8")


def test_the_interpreter_and_type_checkers_find_the_same_names_in_the_same_modules() -> None:
    blocks = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node)]
    found = [node for node in blocks[0].body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in found for alias in node.names} == perdure.aws_lambda._HOME_OF
    assert sorted(perdure.aws_lambda.__all__) == sorted(perdure.aws_lambda._HOME_OF)


@pytest.mark.parametrize("name", perdure.aws_lambda.__all__)
def test_a_public_name_is_what_its_module_calls_it(name: str) -> None:
    module = importlib.import_module(perdure.aws_lambda._HOME_OF[name])
    assert getattr(perdure.aws_lambda, name) is getattr(module, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'perdure\.aws_lambda' has no attribute 'Nonsense'"):
        _ = perdure.aws_lambda.Nonsense  # type: ignore[attr-defined] # the point of the test


def test_importing_the_edge_loads_none_of_it() -> None:
    program = "import sys, perdure.aws_lambda; print([name for name in sys.modules if 'aws_lambda.' in name])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
