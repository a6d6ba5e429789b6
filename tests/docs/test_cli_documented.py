"""The command line cannot drift from its documentation: what is missing there fails here."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def sections() -> dict[str, str]:
    """The sections of the page by their headings."""
    _, *parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def words(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options and sub-commands of a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield name
                yield from words(inner)
        elif not isinstance(action, argparse._HelpAction):
            yield from action.option_strings


def test_every_command_has_a_section_and_no_section_is_left_over() -> None:
    assert set(sections()) == {f"`perdure {name}`" for name in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_and_action_of_a_command_is_in_its_section(command: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"perdure.cli.{COMMANDS[command].module}").add_arguments(parser)
    described = sections()[f"`perdure {command}`"]
    options = list(words(parser))
    assert options
    assert [word for word in options if f"`{word}`" not in described] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_is_described_that_does_not_exist(command: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"perdure.cli.{COMMANDS[command].module}").add_arguments(parser)
    described = set(re.findall(r"`(--[\w-]+)`", sections()[f"`perdure {command}`"]))
    assert described <= set(words(parser))
