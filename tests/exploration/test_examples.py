"""Every handler of every example is explored."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples.approval import Answer, Expense, Question, ask, decide, questions, submit, withdraw
from examples.checkout import Item, Order, checkout, release, remaining, reserve
from examples.counter import add, current, reset
from examples.encrypted import Diagnosis, diagnose
from examples.encrypted import add as add_finding
from examples.encrypted import app as encrypted_app
from examples.fan_out import crawl
from examples.greeter import greet
from examples.lambda_durable import remind
from examples.logging_example import bake
from examples.periodic import Plan, latest, look, start, stop
from examples.signup import click, progress
from examples.signup import run as sign_up
from perdure import TerminalError
from perdure.handlers.definitions import Definition, Handler
from perdure.testing import explore
from perdure.wire.ids import format_awakeable_id, format_invocation_id

EXAMPLES = Path(__file__).parents[2] / "examples"
EXPENSE = Expense("a chair", 120, manager="grace")
QUESTION = Question(format_awakeable_id(bytes(24), 17), EXPENSE, format_invocation_id(bytes(24)))
ORDER = Order("1", [Item("tea", 2, 4.5), Item("cup", 1, 18.5)], "4242")
DECLINED = Order("1", [Item("tea", 2, 4.5)], "declined")

CASES: list[tuple[Handler[Any], Any, Mapping[str, Any]]] = [
    (submit, EXPENSE, {"awakeables": [False], "signals": [("withdraw", "found one")]}),
    (submit, EXPENSE, {"calls": {ask: None}}),
    (withdraw, QUESTION.invocation, {}),
    (ask, QUESTION, {"key": "grace"}),
    (decide, Answer(QUESTION.id, approved=True), {"key": "grace", "state": {"open": [QUESTION]}, "lazy_state": True}),
    (questions, None, {"key": "grace", "same_result": True}),
    (checkout, ORDER, {"calls": {reserve: 5, release: None}}),
    (checkout, DECLINED, {"calls": {reserve: 5, release: None}, "same_result": True}),
    (checkout, ORDER, {"calls": {reserve: TerminalError("sold out"), release: None}, "same_result": True}),
    (reserve, 3, {"key": "tea", "same_result": True, "lazy_state": True}),
    (release, 3, {"key": "tea", "same_result": True}),
    (remaining, None, {"key": "tea", "same_result": True}),
    (add, 3, {"key": "visits", "state": {"total": 4}, "same_result": True}),
    (reset, None, {"key": "visits", "same_result": True}),
    (current, None, {"key": "visits", "lazy_state": True, "same_result": True}),
    (add_finding, "flu", {"key": "ada", "same_result": True}),
    (diagnose, Diagnosis("ada", "influenza"), {"calls": {add_finding: ["flu"]}, "registry": encrypted_app.registry}),
    (crawl, "/shop", {}),
    (greet, "Ada", {}),
    (bake, "bread", {"same_result": True}),
    (remind, "ada@example.org", {"same_result": True}),
    (start, Plan("nowhere", 60), {"key": "file", "same_result": True}),
    (stop, None, {"key": "file", "same_result": True}),
    (look, 1, {"key": "file", "state": {"plan": Plan("nowhere", 60), "series": 1}, "same_result": True}),
    (latest, None, {"key": "file", "same_result": True}),
    (sign_up, "ada@example.org", {"key": "ada", "promises": {"clicked": "guessed"}, "same_result": True}),
    (click, "guessed", {"key": "ada", "same_result": True}),
    (progress, None, {"key": "ada", "same_result": True}),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples print what they do in the world, and here they do it hundreds of times."""
    monkeypatch.setattr("builtins.print", lambda *_, **__: None)


@pytest.mark.parametrize(("handler", "arg", "options"), CASES, ids=lambda value: getattr(value, "path", ""))
def test_a_handler_of_an_example_bears_every_schedule(
    handler: Handler[Any], arg: Any, options: Mapping[str, Any]
) -> None:
    found = explore(handler, arg, budget=12, **options)
    assert found.schedules == 12


def test_every_handler_of_every_example_is_explored() -> None:
    explored = {handler.path for handler, _, _ in CASES}
    modules = [importlib.import_module(f"examples.{path.stem}") for path in EXAMPLES.glob("[a-z]*.py")]
    services = [each for module in modules for each in vars(module).values() if isinstance(each, Definition)]
    assert len(services) > 8
    assert sorted({handler.path for each in services for handler in each.handlers.values()} - explored) == []
