"""Replaying commands: what counts as the same, what may differ, and what is said when it is not the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import JOURNAL_MISMATCH, JournalMismatchError
from perdure.machine.journal import PAYLOADS, VOLATILE, Difference, RecordedCommands, describe, mismatch
from perdure.wire.fields import Row, rows
from perdure.wire.messages import (
    MESSAGES,
    AttachInvocationCommand,
    CallCommand,
    ClearAllStateCommand,
    ClearStateCommand,
    Command,
    CompleteAwakeableCommand,
    CompletePromiseCommand,
    Failure,
    GetEagerStateCommand,
    GetEagerStateKeysCommand,
    GetInvocationOutputCommand,
    GetLazyStateCommand,
    GetLazyStateKeysCommand,
    GetPromiseCommand,
    Header,
    InputCommand,
    InvocationId,
    OneWayCallCommand,
    OutputCommand,
    PeekPromiseCommand,
    RunCommand,
    SendSignalCommand,
    SetStateCommand,
    SleepCommand,
    StateKeys,
    Value,
    Void,
)
from tests.strategies import message_of

COMMANDS = [cls for cls in MESSAGES.values() if issubclass(cls, Command)]

# Written a second time: the fields that a replay may change without harm.
MAY_DIFFER = {
    (InputCommand, "headers"),
    (InputCommand, "value"),
    (InputCommand, "name"),
    (SleepCommand, "wake_up_time"),
    (OneWayCallCommand, "invoke_time"),
    (GetEagerStateCommand, "result"),
    (GetEagerStateKeysCommand, "value"),
}
# And those that hold bytes of a serde, which may write equal values differently.
BYTES_OF_SERDES = {
    (OutputCommand, "result"),
    (SetStateCommand, "value"),
    (CallCommand, "parameter"),
    (OneWayCallCommand, "parameter"),
    (SendSignalCommand, "result"),
    (CompletePromiseCommand, "completion"),
    (CompleteAwakeableCommand, "result"),
}


def recorded(*commands: Command) -> RecordedCommands:
    cursor = RecordedCommands()
    for command in commands:
        cursor.append(command)
    return cursor


def differing(cls: type[Command], row: Row) -> tuple[Command, Command]:
    """Two commands that differ in one field."""
    value: Any = getattr(cls(), row.attribute)
    if row.attribute in {"idempotency_key", "scope", "limit_key"}:
        another: Any = "x"
    elif row.attribute == "signal":
        another = 17
    elif row.attribute == "target":
        another = InvocationId("inv_1")
    elif value is None:
        another = Value(b"x")
    else:
        another = {int: 1, str: "x", bytes: b"x", tuple: (Header("x", "y"),)}[type(value)]
    return cls(), msgspec.structs.replace(cls(), **{row.attribute: another})


FIELDS = [(cls, row) for cls in COMMANDS for row in rows(cls)]


@pytest.mark.parametrize(("cls", "row"), FIELDS, ids=lambda part: getattr(part, "__name__", None) or part.attribute)
def test_a_field_that_differs_is_a_mismatch_unless_it_is_volatile(cls: type[Command], row: Row) -> None:
    old, new = differing(cls, row)
    if (cls, row.attribute) in MAY_DIFFER:
        assert recorded(old).repeat(new) is old
        return
    with pytest.raises(JournalMismatchError) as raised:
        recorded(old).repeat(new)
    assert [difference.split(":")[0] for difference in raised.value.differences] == [row.attribute]


@pytest.mark.parametrize(("cls", "row"), FIELDS, ids=lambda part: getattr(part, "__name__", None) or part.attribute)
def test_unstable_payloads_are_not_compared_and_all_else_is(cls: type[Command], row: Row) -> None:
    old, new = differing(cls, row)
    if (cls, row.attribute) in MAY_DIFFER | BYTES_OF_SERDES:
        assert recorded(old).repeat(new, stable=False) is old
    else:
        with pytest.raises(JournalMismatchError):
            recorded(old).repeat(new, stable=False)


def test_the_tables_name_fields_that_exist() -> None:
    named = {(cls, field) for table in (VOLATILE, PAYLOADS) for cls, fields in table.items() for field in fields}
    assert named == MAY_DIFFER | BYTES_OF_SERDES
    assert all(field in cls.__struct_fields__ for cls, field in named)


@pytest.mark.parametrize("old", COMMANDS)
def test_a_command_of_another_kind_is_a_mismatch(old: type[Command]) -> None:
    for issued in COMMANDS:
        if issued is not old:
            with pytest.raises(JournalMismatchError, match="added, removed or moved"):
                recorded(old()).repeat(issued())


@given(st.sampled_from(COMMANDS).flatmap(message_of))
def test_an_equal_command_is_repeated_and_the_recorded_one_counts(old: Command) -> None:
    assert recorded(old).repeat(msgspec.structs.replace(old)) is old


def test_the_cursor_counts_what_was_repeated() -> None:
    cursor = recorded(InputCommand(), RunCommand(1))
    assert (cursor.index, len(cursor), cursor.peek()) == (-1, 2, InputCommand())
    cursor.repeat(InputCommand())
    assert (cursor.index, len(cursor), cursor.peek()) == (0, 1, RunCommand(1))
    cursor.repeat(RunCommand(1))
    assert (cursor.index, len(cursor), cursor.peek()) == (1, 0, None)


def test_a_mismatch_leaves_the_cursor_where_it_was() -> None:
    cursor = recorded(RunCommand(1))
    with pytest.raises(JournalMismatchError):
        cursor.repeat(RunCommand(2))
    assert (cursor.index, len(cursor)) == (-1, 1)


# --- what is said --------------------------------------------------------------------------------------------------


def test_a_mismatch_tells_index_both_commands_what_differs_and_what_to_do() -> None:
    cursor = recorded(InputCommand(), CallCommand("Shop", "buy", b"1", key="k", result_completion_id=2, name="n"))
    cursor.repeat(InputCommand())
    with pytest.raises(JournalMismatchError) as raised:
        cursor.repeat(CallCommand("Shop", "sell", b"1", key="k", result_completion_id=2, name="n"))
    error = raised.value
    error.location = "shop.py:12 in buy"
    assert error.code == JOURNAL_MISMATCH
    assert error.cause.startswith("the arguments of this step changed")
    assert str(error).splitlines() == [
        "journal mismatch at command 1: the code does not repeat what the journal recorded",
        "  recorded: call Shop/buy (key 'k') named 'n'",
        "  now:      call Shop/sell (key 'k') named 'n'",
        "  differs:  handler_name: 'buy' -> 'sell'",
        "  at:       shop.py:12 in buy",
        "  likely:   " + error.cause,
        "  to do:    run the code this invocation started with, or restart the invocation on the new code",
    ]


def test_a_mismatch_without_a_known_line_says_none() -> None:
    with pytest.raises(JournalMismatchError) as raised:
        recorded(RunCommand(1)).repeat(RunCommand(2))
    assert "  at:" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (RunCommand(1, "a"), SleepCommand(0, 1), "a step was added, removed or moved"),
        (RunCommand(1, "a"), RunCommand(2, "a"), "an earlier step that awaits a result was added or removed"),
        (SleepCommand(0, 1), SleepCommand(0, 2), "an earlier step that awaits a result was added or removed"),
        (
            CallCommand("S", "h", invocation_id_notification_idx=1, result_completion_id=2),
            CallCommand("S", "h", invocation_id_notification_idx=3, result_completion_id=4),
            "an earlier step that awaits a result",
        ),
        (CallCommand("S", "h", b"1"), CallCommand("S", "h", b"2"), "the value is computed from something"),
        (SetStateCommand(b"k", Value(b"1")), SetStateCommand(b"k", Value(b"2")), "the value is computed from"),
        (OutputCommand(Value(b"1")), OutputCommand(Failure(1)), "the value is computed from something"),
        (CompletePromiseCommand("p", Value(b"1")), CompletePromiseCommand("p", Value(b"2")), "the value is computed"),
        (RunCommand(1, "a"), RunCommand(1, "b"), "added, removed, moved or renamed"),
    ],
)
def test_the_likely_cause_follows_from_what_differs(old: Command, new: Command, cause: str) -> None:
    with pytest.raises(JournalMismatchError, match=cause):
        recorded(old).repeat(new)


def test_waiting_where_the_journal_goes_on_is_a_mismatch_of_its_own() -> None:
    error = mismatch(3, RunCommand(2, "charge"), None, "waiting for sleep")
    assert (error.index, error.recorded, error.issued) == (3, "run named 'charge'", "waiting for sleep")
    assert "an await was added" in error.cause
    assert error.differences == ()


def test_where_nothing_is_recorded_nothing_is_named() -> None:
    assert mismatch(1, None, RunCommand(1)).recorded == "nothing more"


def test_long_values_are_cut_in_a_difference_and_their_length_is_told() -> None:
    text = str(Difference("value", b"x" * 500, b""))
    assert text == f"value: b'{'x' * 118}... (503 characters) -> b''"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (InputCommand((), Value(b"secret")), "input"),
        (OutputCommand(Value(b"secret")), "return of the handler"),
        (GetLazyStateCommand(b"k", 1), "get state 'k'"),
        (GetEagerStateCommand(b"k", Void()), "get state 'k'"),
        (GetLazyStateKeysCommand(1), "list state keys"),
        (GetEagerStateKeysCommand(StateKeys()), "list state keys"),
        (SetStateCommand(b"k\xff", Value(b"secret")), "set state 'k\N{REPLACEMENT CHARACTER}'"),
        (ClearStateCommand(b"k"), "clear state 'k'"),
        (ClearAllStateCommand(), "clear all state"),
        (GetPromiseCommand("p"), "await promise 'p'"),
        (PeekPromiseCommand("p"), "peek at promise 'p'"),
        (CompletePromiseCommand("p"), "complete promise 'p'"),
        (SleepCommand(1, 2), "sleep"),
        (SleepCommand(1, 2, "nap"), "sleep named 'nap'"),
        (CallCommand("S", "h"), "call S/h"),
        (CallCommand("S", "h", key="k"), "call S/h (key 'k')"),
        (OneWayCallCommand("S", "h", key="k", name="n"), "send S/h (key 'k') named 'n'"),
        (SendSignalCommand("inv_1x", "go"), "send signal 'go' to inv_1x"),
        (SendSignalCommand("inv_1x", 1), "cancel inv_1x"),
        (RunCommand(1, "charge"), "run named 'charge'"),
        (AttachInvocationCommand(InvocationId("inv_1x")), "attach"),
        (GetInvocationOutputCommand(InvocationId("inv_1x")), "get output"),
        (CompleteAwakeableCommand("sign_1x"), "complete awakeable sign_1x"),
    ],
)
def test_a_command_is_named_in_words_and_without_its_payload(command: Command, text: str) -> None:
    assert describe(command) == text


@pytest.mark.parametrize("cls", COMMANDS)
def test_no_command_is_named_by_its_class(cls: type[Command]) -> None:
    assert "Command" not in describe(cls())
