"""What is known of a step function: its name, whether it runs in a thread, how its result is written and read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from perdure import SerdeError, TerminalError
from perdure.durable.codec import Serdes
from perdure.durable.serde import serde_for
from perdure.handlers import steps as steps_module
from perdure.handlers.steps import MAX_PAYLOAD, Step, Steps, check_size, reader
from perdure.wire.messages import Value, Void


async def coroutine() -> int:
    return 1


def plain() -> str:
    return ""


class Asynchronous:
    async def __call__(self) -> int:
        return 1

    async def method(self) -> int:
        return 1

    def plain_method(self) -> int:
        return 1


class Synchronous:
    def __call__(self) -> int:
        return 1


FUNCTIONS: list[tuple[Callable[..., Any], str, bool]] = [
    (coroutine, "coroutine", False),
    (plain, "plain", True),
    (functools.partial(coroutine), "coroutine", False),
    (functools.partial(functools.partial(plain)), "plain", True),
    (lambda: 1, "step", True),
    (Asynchronous(), "Asynchronous", False),
    (Asynchronous().method, "method", False),
    (Asynchronous().plain_method, "plain_method", True),
    (Synchronous(), "Synchronous", True),
    (len, "len", True),
    (int, "int", True),
]


@pytest.mark.parametrize(("fn", "name", "is_plain"), FUNCTIONS, ids=[case[1] for case in FUNCTIONS])
def test_a_step_is_named_after_its_function_and_runs_where_it_can(
    fn: Callable[..., Any], name: str, is_plain: bool
) -> None:
    step = Step(fn, serde_for(int))
    assert (step.name, step.plain) == (name, is_plain)


def test_what_is_known_of_a_function_is_remembered() -> None:
    steps = Steps(Serdes())
    assert steps.of(coroutine) is steps.of(coroutine)
    assert steps.of(coroutine) is not steps.of(plain)


def test_functions_made_anew_share_what_is_known_of_their_code() -> None:
    steps = Steps(Serdes())

    def make() -> Callable[[], int]:
        def made() -> int:
            return 1

        return made

    assert steps.of(make()) is steps.of(make())


def test_functions_made_anew_with_another_annotation_do_not() -> None:
    steps = Steps(Serdes())

    def make(annotation: Any) -> Callable[[], Any]:
        def made():  # type: ignore[no-untyped-def]  # annotated below
            return 1

        made.__annotations__["return"] = annotation
        return made

    assert steps.of(make(int)).serde is not steps.of(make(str)).serde


def test_callables_without_code_are_looked_at_each_time() -> None:
    steps = Steps(Serdes())
    assert steps.of(Synchronous()).name == steps.of(functools.partial(Synchronous())).name == "Synchronous"


def test_no_more_functions_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "_MOST_CODES", 2)
    steps = Steps(Serdes())
    for number in range(5):
        namespace: dict[str, Any] = {}
        exec(f"def made_{number}() -> int: return {number}", namespace)
        assert steps.of(namespace[f"made_{number}"]).name == f"made_{number}"
        assert len(steps._by_code) <= 2


def test_a_result_is_written_and_read_back() -> None:
    step = Step(coroutine, serde_for(int))
    assert step.write(5) == b"5"
    assert step.read(Value(b"5")) == 5


def test_what_cannot_be_written_or_read_says_whose_it_is() -> None:
    step = Step(coroutine, serde_for(int))
    with pytest.raises(SerdeError, match="the result of step 'coroutine'"):
        step.write(object())
    with pytest.raises(SerdeError, match="the result of step 'coroutine'"):
        step.read(Value(b'"text"'))


def test_a_result_of_another_type_is_the_fault_of_the_step() -> None:
    step = Step(coroutine, serde_for(int))
    with pytest.raises(SerdeError, match=r"correct the annotation, or name the type with returns="):
        step.read(Value(b'"text"'))


def test_a_reader_takes_nothing_as_an_empty_payload() -> None:
    assert reader(serde_for(bytes), "x")(Void()) == b""


def test_a_payload_that_just_fits_is_taken() -> None:
    data = bytes(MAX_PAYLOAD)
    assert check_size(data, "x") is data


def test_a_payload_that_no_runtime_would_store_is_terminal() -> None:
    with pytest.raises(TerminalError, match=r"x is 33,488,897 bytes long, .* 33,488,896") as raised:
        check_size(bytes(MAX_PAYLOAD + 1), "x")
    assert raised.value.code == 413


def test_a_result_that_no_runtime_would_store_is_terminal() -> None:
    with pytest.raises(TerminalError, match="the result of step 'coroutine'"):
        Step(coroutine, serde_for(bytes)).write(bytes(MAX_PAYLOAD + 1))
