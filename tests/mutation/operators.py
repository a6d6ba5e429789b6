"""What is changed: one small thing at a time, found in the syntax tree.

Left alone is what is not behaviour: docstrings, annotations (except the metadata of `Annotated`, which is data here),
`__all__`, `__slots__`, `__repr__`, assertions (they are for the type checkers), the text of errors that are raised.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar, cast

__all__ = ["Change", "changed", "changes"]

N = TypeVar("N", bound=ast.AST)

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_ALIKE: Final = {"isinstance", "issubclass", "max", "min", "hasattr", "getattr", "setattr"}
"""Calls whose arguments are not swapped: nothing, or nothing but a TypeError, would come of it."""

_NOT_BEHAVIOUR: Final = {"__all__", "__slots__"}
_TEXT: Final = {"__repr__", "__str__"}
_TYPE_MAKERS: Final = {"TypeVar", "ParamSpec", "NewType"}


class Change(NamedTuple):
    """One thing that can be changed.

    Attributes:
        number: which one of the module it is, from 0.
        first: the first line of the statement or expression, from 1.
        last: its last line.
        before: what is written there.
        after: what will be.
    """

    number: int
    first: int
    last: int
    before: str
    after: str


def changes(source: str) -> list[Change]:
    """Everything that can be changed in a module."""
    operators = _Operators()
    operators.visit(ast.parse(source))
    return operators.found


def changed(source: str, number: int | None = None) -> ast.Module:
    """The module with one change, or without any."""
    tree = ast.parse(source)
    if number is not None:
        operators = _Operators(number)
        operators.visit(tree)
        assert len(operators.found) > number
    return ast.fix_missing_locations(tree)


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _name(function)
        case ast.Subscript(value=value):
            return _name(value)
    return ""


def _replacements(value: object) -> Iterator[str | bytes | bool | float]:
    match value:
        case bool():
            yield not value
        case int() | float():
            yield value + 1
            if value > 0:
                yield value - 1
        case str():
            yield "XX" + value
        case bytes():
            yield b"XX" + value


class _Operators(ast.NodeTransformer):
    """Notes every change in the order of the visit, and makes the one that was asked for."""

    def __init__(self, wanted: int = -1) -> None:
        self.found: list[Change] = []
        self._wanted = wanted
        self._raising = False

    def _note(self, node: ast.AST, before: str, after: str) -> bool:
        """Note a change at `node`; returns whether it is the one to make."""
        number = len(self.found)
        place = cast("ast.expr", node)
        self.found.append(Change(number, place.lineno, place.end_lineno or place.lineno, before, after))
        return number == self._wanted

    def _offer(self, node: N, *others: ast.AST) -> N | ast.AST:
        """Note these changes of `node`; returns what shall stand there."""
        chosen: N | ast.AST = node
        for other in others:
            ast.fix_missing_locations(ast.copy_location(other, node))
            if self._note(node, ast.unparse(node), ast.unparse(other)):
                chosen = other
        return chosen

    def _inside(self, node: N, *others: ast.AST) -> N | ast.AST:
        """Offer these changes of `node`, then those within it."""
        chosen = self._offer(node, *others)
        return self.generic_visit(node) if chosen is node else chosen

    def _all(self, nodes: list[N]) -> list[N]:
        return [cast("N", self.visit(node)) for node in nodes]

    # --- what is left alone ----------------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Defaults and body; neither annotations nor decorators."""
        if node.name not in _TEXT and not any(_name(decorator) == "overload" for decorator in node.decorator_list):
            node.args.defaults = self._all(node.args.defaults)
            node.args.kw_defaults = [None if value is None else self.visit(value) for value in node.args.kw_defaults]
            node.body = self._all(node.body)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """As a function."""
        return self.visit_FunctionDef(cast("ast.FunctionDef", node))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keywords and body."""
        node.keywords = self._all(node.keywords)
        node.body = self._all(node.body)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """The value, and the metadata of `Annotated`."""
        if _name(node.target) in _NOT_BEHAVIOUR:
            return node
        if _name(node.annotation) == "TypeAlias":
            self._metadata(node.value)
            return node
        self._metadata(node.annotation)
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def _metadata(self, annotation: ast.expr | None) -> None:
        if isinstance(annotation, ast.Subscript) and _name(annotation) == "Annotated":
            within = cast("ast.Tuple", annotation.slice)
            within.elts[1:] = self._all(within.elts[1:])

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Nothing."""
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        """The condition, negated, unless it is there for the type checkers."""
        if any(_name(part) == "TYPE_CHECKING" for part in ast.walk(node.test)):
            return node
        return self._condition(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """A call that is left out; a string or `...` is text."""
        return node if isinstance(node.value, ast.Constant) else self._statement(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """The words and the values, not the format."""
        if self._raising:
            return node
        for number, value in enumerate(node.values):
            if isinstance(value, ast.FormattedValue):
                value.value = self.visit(value.value)
            else:
                node.values[number] = self.visit(value)
        return node

    # --- statements ------------------------------------------------------------------------------------------------

    def _statement(self, node: ast.stmt) -> ast.AST:
        return self._inside(node, ast.Pass())

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Left out, where the old value stays; a name without a value would only be a NameError."""
        names = {_name(target) for target in node.targets}
        if names & _NOT_BEHAVIOUR or _name(node.value) in _TYPE_MAKERS:
            return node
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            return self._statement(node)
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Left out, or with another operator."""
        others: list[ast.AST] = [ast.Pass()]
        if type(node.op) in _ARITHMETIC:
            other = copy.copy(node)
            other.op = _ARITHMETIC[type(node.op)]()
            others.append(other)
        return self._inside(node, *others)

    def visit_Delete(self, node: ast.Delete) -> ast.AST:
        """Left out, if it removes something from a container."""
        return self._statement(node) if isinstance(node.targets[0], ast.Attribute | ast.Subscript) else node

    def visit_Continue(self, node: ast.Continue) -> ast.AST:
        """Left out."""
        return self._offer(node, ast.Pass())

    def visit_Break(self, node: ast.Break) -> ast.AST:
        """Left out, and the opposite."""
        return self._offer(node, ast.Pass(), ast.Continue())

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Left out; the text of the error is left alone."""
        chosen = self._offer(node, ast.Pass())
        if chosen is not node:
            return chosen
        return self._without_text(node)

    def _without_text(self, node: N) -> N:
        outside, self._raising = self._raising, True
        self.generic_visit(node)
        self._raising = outside
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        """Left out, or nothing instead of something."""
        if node.value is None:
            return self._offer(node, ast.Pass())
        if isinstance(node.value, ast.Constant) and not node.value.value:
            return self.generic_visit(node)
        return self._inside(node, ast.Return(ast.Constant(None)))

    def visit_While(self, node: ast.While) -> ast.AST:
        """The condition, negated; how `while True` ends is the business of its `break`."""
        if isinstance(node.test, ast.Constant):
            node.body = self._all(node.body)
            return node
        return self._condition(node)

    # --- expressions -----------------------------------------------------------------------------------------------

    def _negated(self, test: ast.expr) -> tuple[ast.expr, bool]:
        # Comparisons and negations have their own changes.
        if isinstance(test, ast.Compare | ast.UnaryOp):
            return test, False
        chosen = self._offer(test, ast.UnaryOp(ast.Not(), test))
        return cast("ast.expr", chosen), chosen is not test

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        """The conditions, negated."""
        for number, test in enumerate(node.ifs):
            node.ifs[number], done = self._negated(test)
            if done:
                return node
        return self.generic_visit(node)

    def _condition(self, node: ast.If | ast.While | ast.IfExp) -> ast.AST:
        node.test, done = self._negated(node.test)
        if done:
            return node
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """The condition, negated."""
        return self._condition(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """The operator: the border moved by one, or the opposite."""
        others = []
        for number, op in enumerate(node.ops):
            other = copy.copy(node)
            other.ops = [*node.ops[:number], _COMPARISONS[type(op)](), *node.ops[number + 1 :]]
            others.append(other)
        return self._inside(node, *others)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """The other operator, or without one of the operands."""
        others: list[ast.AST] = [ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)]
        for number in range(len(node.values)):
            rest = [*node.values[:number], *node.values[number + 1 :]]
            others.append(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
        return self._inside(node, *others)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """Without it."""
        return self._inside(node, node.operand)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Another operator."""
        if type(node.op) not in _ARITHMETIC or (self._raising and isinstance(node.op, ast.Add)):
            return self.generic_visit(node)
        return self._inside(node, ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Two neighbours among the arguments swapped; `max` for `min`."""
        name = _name(node)
        if name == "cast":
            node.args[1:] = self._all(node.args[1:])
            return node
        if name.endswith("Error"):
            return self._without_text(node)
        others: list[ast.AST] = []
        if name in {"max", "min"} and isinstance(node.func, ast.Name):
            others.append(ast.Call(ast.Name("min" if name == "max" else "max", ast.Load()), node.args, node.keywords))
        if name not in _ALIKE and not any(isinstance(argument, ast.Starred) for argument in node.args):
            for number in range(len(node.args) - 1):
                one, two = node.args[number : number + 2]
                if ast.unparse(one) != ast.unparse(two):
                    swapped = [*node.args[:number], two, one, *node.args[number + 2 :]]
                    others.append(ast.Call(node.func, swapped, node.keywords))
        return self._inside(node, *others)

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        """Without one of the entries."""
        for number, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
            if key is not None and self._note(key, f"{ast.unparse(key)}: {ast.unparse(value)}", "(left out)"):
                del node.keys[number], node.values[number]
                return node
        return self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> ast.AST:
        """Without the lower or the upper bound."""
        others: list[ast.AST] = []
        if node.lower is not None:
            others.append(ast.Slice(None, node.upper, node.step))
        if node.upper is not None:
            others.append(ast.Slice(node.lower, None, node.step))
        return self._inside(node, *others)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Another boolean, one more, one less, another text."""
        if self._raising and isinstance(node.value, str):
            return node
        return self._offer(node, *(ast.Constant(value) for value in _replacements(node.value)))
