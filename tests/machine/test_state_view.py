"""What a handler knows of its state without asking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.machine.state import StateView
from perdure.wire.messages import StateEntry


def view(*, partial: bool, **values: bytes) -> StateView:
    return StateView((StateEntry(key.encode(), value) for key, value in values.items()), partial=partial)


def test_a_whole_state_knows_that_a_key_is_absent() -> None:
    whole = view(partial=False, a=b"1")
    assert (whole.knows(b"b"), whole.get(b"b"), whole.get(b"a")) == (True, None, b"1")


def test_a_partial_state_knows_only_what_was_sent_along() -> None:
    partial = view(partial=True, a=b"1")
    assert (partial.knows(b"a"), partial.knows(b"b"), partial.keys()) == (True, False, None)


def test_a_write_is_known_at_once() -> None:
    partial = view(partial=True)
    partial.set(b"a", b"")
    assert (partial.knows(b"a"), partial.get(b"a")) == (True, b"")


def test_a_removed_key_is_known_to_be_absent() -> None:
    partial = view(partial=True, a=b"1")
    partial.clear(b"a")
    partial.clear(b"b")
    assert [(partial.knows(key), partial.get(key)) for key in (b"a", b"b")] == [(True, None)] * 2


def test_removing_everything_makes_a_partial_state_whole() -> None:
    partial = view(partial=True, a=b"1")
    partial.clear_all()
    assert (partial.partial, partial.knows(b"z"), partial.get(b"a"), partial.keys()) == (False, True, None, ())


def test_keys_are_sorted_and_removed_ones_are_not_among_them() -> None:
    whole = view(partial=False, b=b"", a=b"1", c=b"3")
    whole.clear(b"c")
    whole.set(b"0", b"")
    assert whole.keys() == (b"0", b"a", b"b")


@pytest.mark.parametrize("partial", [False, True])
@given(st.data())
def test_a_view_agrees_with_a_dictionary(partial: bool, data: st.DataObject) -> None:
    keys = st.sampled_from([b"a", b"b", b"c"])
    sent = data.draw(st.dictionaries(keys, st.binary(max_size=2)))
    state = StateView((StateEntry(key, value) for key, value in sent.items()), partial=partial)
    model: dict[bytes, bytes | None] = dict(sent)
    known = None if partial else set(keys.elements)  # type: ignore[attr-defined]  # of sampled_from
    moves = data.draw(st.lists(st.tuples(st.sampled_from(["set", "clear", "clear all"]), keys, st.binary(max_size=2))))
    for move, key, value in moves:
        match move:
            case "set":
                state.set(key, value)
                model[key] = value
            case "clear":
                state.clear(key)
                model[key] = None
            case _:
                state.clear_all()
                model.clear()
                known = {b"a", b"b", b"c"}
    for key in (b"a", b"b", b"c"):
        assert state.knows(key) is (known is not None or key in model)
        assert state.get(key) == model.get(key)
    present = tuple(sorted(key for key, value in model.items() if value is not None))
    assert state.keys() == (None if known is None else present)
