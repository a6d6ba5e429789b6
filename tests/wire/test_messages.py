"""Type codes, field numbers, kinds and presence are those of the protocol."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import pytest

from perdure.wire import messages
from perdure.wire.fields import ENUM, MESSAGE, Field, Flag, OneOf, Presence, Row, rows
from perdure.wire.messages import (
    MESSAGES,
    Command,
    Control,
    ErrorMessage,
    Message,
    Notification,
    Part,
    RunCommand,
)
from tests.protocol_table import ENUMS, SHAPES, FieldLine, Shape


def struct(name: str) -> type[msgspec.Struct]:
    found: type[msgspec.Struct] = getattr(messages, name)
    return found


def shape(cls: type[msgspec.Struct]) -> Shape:
    """What the code says about a class, in the words of the table."""
    lines = [line for row in rows(cls) for line in fields(row)]
    flags = tuple((row.rule.mask, row.attribute) for row in rows(cls) if isinstance(row.rule, Flag))
    code = cls.type_code if issubclass(cls, Message) else None
    return Shape(code, tuple(sorted(lines)), flags)


def fields(row: Row) -> list[FieldLine]:
    match row.rule:
        case Field(number, kind, presence, since):
            name = row.type.__name__ if kind in {MESSAGE, ENUM} else kind.value
            label = "optional" if presence is Presence.EXPLICIT else presence.value
            return [FieldLine(number, label, name, row.attribute, since)]
        case OneOf(arms=arms):
            return [
                FieldLine(arm.number, "oneof", arm.type.__name__, row.attribute)
                if arm.kind is MESSAGE
                else FieldLine(arm.number, "oneof", arm.kind.value, row.attribute, wrapper=arm.type.__name__)
                for arm in arms
            ]
    return []


@pytest.mark.parametrize("name", SHAPES)
def test_class_is_what_the_protocol_says(name: str) -> None:
    assert shape(struct(name)) == SHAPES[name]


@pytest.mark.parametrize("name", ENUMS)
def test_members_are_what_the_protocol_says(name: str) -> None:
    members = getattr(messages, name)
    assert issubclass(members, enum.IntEnum)
    assert {member.value: member.name for member in members} == ENUMS[name]


def test_every_message_of_the_protocol_has_a_class_and_every_class_is_in_the_protocol() -> None:
    table = {shape.type_code: name for name, shape in SHAPES.items() if shape.type_code is not None}
    assert {code: cls.__name__ for code, cls in MESSAGES.items()} == table


def test_every_part_of_the_protocol_has_a_class_and_every_class_is_in_the_protocol() -> None:
    table = {name for name, shape in SHAPES.items() if shape.type_code is None}
    # An invocation id is a plain string on the wire; its struct tells it from other results in Python.
    assert {cls.__name__ for cls in Part.__subclasses__()} == table | {"InvocationId"}


@pytest.mark.parametrize(
    ("family", "codes"),
    [(Control, range(0x0400)), (Command, range(0x0400, 0x8000)), (Notification, range(0x8000, 0xFC00))],
)
def test_a_family_keeps_to_its_range_of_type_codes(family: type[Message], codes: range) -> None:
    assert {cls for cls in MESSAGES.values() if cls.type_code in codes} == set(family.__subclasses__())


def test_the_code_of_an_error_is_not_the_type_code_of_its_message() -> None:
    assert (ErrorMessage(code=500).code, ErrorMessage.type_code) == (500, 2)


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        RunCommand(1).name = "later"  # type: ignore[misc]  # that it is refused is the point


@pytest.mark.parametrize("cls", [*MESSAGES.values(), *Part.__subclasses__()], ids=lambda cls: cls.__name__)
def test_no_message_can_be_changed(cls: type[msgspec.Struct]) -> None:
    assert cls.__struct_config__.frozen


def test_messages_are_equal_and_hashed_as_data() -> None:
    assert len({RunCommand(1, "a"), RunCommand(1, "a"), RunCommand(1, "b")}) == 2


@pytest.mark.parametrize("cls", [*MESSAGES.values(), *Part.__subclasses__()], ids=lambda cls: cls.__name__)
def test_an_attribute_that_is_not_given_is_empty(cls: type[Any]) -> None:
    assert not any(msgspec.structs.astuple(cls()))
