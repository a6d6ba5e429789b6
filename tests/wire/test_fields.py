"""The rules of a class are read from its annotations."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from perdure.wire.fields import BYTES, MESSAGE, STRING, UINT32, Field, Flag, OneOf, Presence, Row, rows
from perdure.wire.messages import CallCommand, Future, Header, ProposeRunCompletionMessage, RunCommand


def test_rows_stand_in_the_order_of_the_attributes() -> None:
    assert rows(RunCommand) == (
        Row("result_completion_id", Field(11, UINT32), int),
        Row("name", Field(12, STRING), str),
    )


def test_the_type_of_a_row_is_that_of_one_value() -> None:
    types = {row.attribute: row.type for row in rows(CallCommand)}
    assert (types["parameter"], types["headers"], types["scope"]) == (bytes, Header, str)


def test_a_class_may_hold_itself() -> None:
    assert rows(Future)[3] == Row("nested_futures", Field(4, MESSAGE, Presence.REPEATED), Future)


def test_oneofs_and_flags_are_rules_too() -> None:
    _, result, ack = rows(ProposeRunCompletionMessage)
    assert isinstance(result.rule, OneOf)
    assert [(arm.number, arm.kind) for arm in result.rule.arms] == [(14, BYTES), (15, MESSAGE)]
    assert ack.rule == Flag(0x8000)


class Unruled(msgspec.Struct):
    key: Annotated[bytes, Field(1, BYTES)] = b""
    value: Annotated[bytes, msgspec.Meta(max_length=1)] = b""


def test_an_attribute_without_a_rule_is_told_by_name() -> None:
    with pytest.raises(TypeError, match=r"Unruled\.value has no rule for the wire"):
        rows(Unruled)


def test_a_oneof_shows_its_arms() -> None:
    rule = rows(ProposeRunCompletionMessage)[1].rule
    assert repr(rule).startswith("OneOf(Arm(number=14, kind=<Kind.BYTES: 'bytes'>")
