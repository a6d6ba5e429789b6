"""What the mutation operators change, and what they leave alone."""

from __future__ import annotations

import ast

import pytest

from tests.mutation.operators import changed, changes


def written(source: str) -> list[str]:
    return [f"{change.before} -> {change.after}" for change in changes(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a < b -> pass", "a < b -> a <= b"]),
        ("x = a in b", ["a in b -> a not in b"]),
        ("x = a + b", ["a + b -> a - b"]),
        ("x = not a", ["not a -> a"]),
        ("x = True", ["True -> False"]),
        ("x = 7", ["7 -> 8", "7 -> 6"]),
        ("x = 0", ["0 -> 1"]),
        ("x = 'key'", ["'key' -> 'XXkey'"]),
        ("x = a and b", ["a and b -> a or b", "a and b -> b", "a and b -> a"]),
        ("x = a[i:j]", ["i:j -> :j", "i:j -> i:"]),
        ("x = max(a, b)", ["max(a, b) -> min(a, b)"]),
        ("x = f(a, b)", ["f(a, b) -> f(b, a)"]),
        ("x = {a: b, c: d}", ["a: b -> (left out)", "c: d -> (left out)"]),
        ("x = a if b else c", ["b -> not b"]),
        ("x = [a for a in b if c]", ["c -> not c"]),
        ("if a: b = c", ["a -> not a"]),
        ("a.b = c", ["a.b = c -> pass"]),
        ("a += b", ["a += b -> pass", "a += b -> a -= b"]),
        ("f()", ["f() -> pass"]),
        ("def f(): return a", ["return a -> return None"]),
        ("raise a", ["raise a -> pass"]),
        ("x: Annotated[int, Field(5)]", ["5 -> 6", "5 -> 4"]),
        ("X: TypeAlias = Annotated[int, Meta(5)]", ["5 -> 6", "5 -> 4"]),
    ],
)
def test_each_thing_has_its_changes(source: str, expected: list[str]) -> None:
    assert written(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        'class C:\n    """A docstring."""\n    x: int\n    """Another."""',
        "x: Literal[1]",
        "X: TypeAlias = A | B",
        "__all__ = ['a', 'b']",
        "assert x == 1",
        "def __repr__(self): return f'<{self.x}>'",
        "@overload\ndef f(x=1): ...",
        "if TYPE_CHECKING:\n    f()",
        "x = cast('A', y)",
        "x = ValueError(f'{n} is not' + ' allowed')",
    ],
)
def test_what_is_not_behaviour_is_left_alone(source: str) -> None:
    assert written(source) == []


def test_the_text_of_an_error_is_left_alone_and_its_numbers_are_not() -> None:
    assert written("raise Failure('too much', code=413) from a") == [
        "raise Failure('too much', code=413) from a -> pass",
        "413 -> 414",
        "413 -> 412",
    ]


SEVERAL = "def f(a, b=1):\n    while a < 9:\n        a += b\n    return [a]\n"


@pytest.mark.parametrize("number", range(len(changes(SEVERAL))))
def test_the_change_that_is_asked_for_is_made_and_no_other(number: int) -> None:
    change = changes(SEVERAL)[number]
    before = ast.unparse(ast.parse(SEVERAL))
    differing = [
        (one.strip(), other.strip())
        for one, other in zip(before.split("\n"), ast.unparse(changed(SEVERAL, number)).split("\n"), strict=True)
        if one != other
    ]
    ((one, other),) = differing
    assert one.replace(change.before, change.after) == other


def test_without_a_number_nothing_is_changed() -> None:
    assert ast.dump(changed(SEVERAL)) == ast.dump(ast.parse(SEVERAL))


def test_a_change_says_where_it_is() -> None:
    assert [(change.first, change.last) for change in changes("x = f(\n    1,\n    a,\n)")] == [(1, 4), (2, 2), (2, 2)]
