from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.durable.codec import PLAIN
from perdure.durable.serde import serde_for
from perdure.exceptions import UsageError
from perdure.handlers.options import OptionFields, Options, seconds
from perdure.machine.retry import RetryPolicy

durations = st.none() | st.floats(0, 1e9) | st.timedeltas(min_value=timedelta(0))
flags = st.none() | st.booleans()


@st.composite
def options(draw: st.DrawFn) -> Options:
    return Options(
        inactivity_timeout=draw(durations),
        abort_timeout=draw(durations),
        journal_retention=draw(durations),
        idempotency_retention=draw(durations),
        workflow_retention=draw(durations),
        lazy_state=draw(flags),
        ingress_private=draw(flags),
        retry=draw(st.none() | st.just(RetryPolicy(factor=3))),
        documentation=draw(st.none() | st.text()),
        metadata=draw(st.none() | st.dictionaries(st.text(), st.text())),
        serde=draw(st.none() | st.just(serde_for)),
        codec=draw(st.none() | st.just(PLAIN)),
    )


def test_nothing_is_said_unless_it_is_said() -> None:
    assert Options().given() == {}
    assert repr(Options()) == "Options()"


def test_every_option_can_be_written_and_read() -> None:
    assert [field.name for field in fields(Options)] == list(OptionFields.__annotations__)


def test_durations_are_held_as_seconds() -> None:
    said = Options(inactivity_timeout=timedelta(minutes=1), abort_timeout=5, journal_retention=0)
    assert (said.inactivity_timeout, said.abort_timeout, said.journal_retention) == (60.0, 5.0, 0.0)


@given(options(), options())
def test_what_is_said_stands_over_what_was_said_before_option_by_option(inner: Options, outer: Options) -> None:
    both = inner.over(outer)
    for field in fields(Options):
        said = getattr(inner, field.name)
        assert getattr(both, field.name) == (getattr(outer, field.name) if said is None else said)


@given(options(), options(), options())
def test_it_does_not_matter_in_which_order_levels_are_put_together(a: Options, b: Options, c: Options) -> None:
    assert a.over(b).over(c) == a.over(b.over(c))


@given(options())
def test_no_options_change_nothing(said: Options) -> None:
    assert said.over(Options()) == said == Options().over(said)


def test_false_and_zero_are_said() -> None:
    outer = Options(lazy_state=True, inactivity_timeout=60)
    inner = Options(lazy_state=False, inactivity_timeout=0)
    assert inner.over(outer) == inner


def test_options_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Options().lazy_state = True  # type: ignore[misc]  # that is the point


def test_metadata_is_copied() -> None:
    metadata = {"team": "checkout"}
    said = Options(metadata=metadata)
    metadata["team"] = "other"
    assert said.metadata == {"team": "checkout"}


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"inactivity_timeout": -1}, "inactivity_timeout is at least 0 seconds and finite, not -1"),
        ({"abort_timeout": float("inf")}, "abort_timeout is at least 0 seconds and finite, not inf"),
        ({"journal_retention": timedelta(days=-1)}, "journal_retention is at least 0 seconds"),
        ({"idempotency_retention": "1d"}, "idempotency_retention is a number of seconds or a timedelta, not '1d'"),
        ({"workflow_retention": True}, "workflow_retention is a number of seconds or a timedelta, not True"),
        ({"lazy_state": 1}, "lazy_state is True or False, not 1"),
        ({"ingress_private": "no"}, "ingress_private is True or False, not 'no'"),
        ({"retry": 3}, "retry is a RetryPolicy, not 3"),
        ({"retry": RetryPolicy(max_duration=60)}, "cannot have a max_duration: runtimes count attempts"),
        ({"documentation": 5}, "documentation is text, not 5"),
        ({"metadata": {"a": 1}}, "metadata is a mapping of text to text"),
        ({"metadata": "a=b"}, "metadata is a mapping of text to text"),
        ({"timeout": 5}, "there is no option 'timeout'; there are inactivity_timeout, abort_timeout"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Options(**said)


def test_seconds_names_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="the delay is at least 0 seconds and finite, not nan"):
        seconds(float("nan"), "the delay")
