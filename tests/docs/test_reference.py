"""The reference names everything that is public, and what it draws from tables says what they say."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest

import perdure
import perdure.aws_lambda
import perdure.aws_lambda.events
import perdure.aws_lambda.extensions
import perdure.aws_lambda.http
import perdure.instrumentation
import perdure.testing
from perdure import exceptions

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def documented() -> set[str]:
    """The objects that the reference describes."""
    pages = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    return set(re.findall(r"^\.\. auto\w+:: ([\w.]+)$", pages, re.MULTILINE))


@pytest.mark.parametrize(
    "module",
    [
        perdure,
        perdure.testing,
        perdure.instrumentation,
        perdure.aws_lambda,
        perdure.aws_lambda.events,
        perdure.aws_lambda.extensions,
        perdure.aws_lambda.http,
    ],
    ids=lambda module: module.__name__,
)
def test_every_public_name_is_described(module: object) -> None:
    name = getattr(module, "__name__", "")
    public = {f"{name}.{each}" for each in getattr(module, "__all__", ())}
    assert public - documented() - {"perdure.testing.InMemoryRuntime"} == set()


def test_every_exception_is_in_the_tree_below_its_base() -> None:
    tree = (exceptions.__doc__ or "").splitlines()
    depth = {name: line.index(name) for line in tree for name in re.findall(r"── (\w+)", line)}
    classes = {
        name: each for name, each in vars(exceptions).items() if inspect.isclass(each) and name in exceptions.__all__
    }
    assert set(depth) == set(classes)
    for name, each in classes.items():
        base = each.__bases__[0]
        if base.__name__ in depth:
            assert depth[name] == depth[base.__name__] + 4


def test_the_dependencies_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[>=]", line)[0] for line in project["dependencies"]} | set(project["optional-dependencies"])
    rows = re.findall(r"^\| `?(\w+)", (REFERENCE / "dependencies.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert names == set(rows) - {"package", "extra"}


def test_every_example_is_listed() -> None:
    listed = (ROOT / "docs" / "how-to" / "index.md").read_text(encoding="utf-8")
    examples = {path.name for path in (ROOT / "examples").glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^\| `(\w+\.py)`", listed, re.MULTILINE)) == examples
