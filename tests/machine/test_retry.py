from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import UsageError
from perdure.machine.retry import LONGEST_DELAY, Exhausted, RetryPolicy

seconds = st.floats(min_value=0, max_value=1e6, allow_nan=False)


@st.composite
def policies(draw: st.DrawFn, *, limited: bool = True) -> RetryPolicy:
    initial = draw(seconds)
    return RetryPolicy(
        initial_interval=initial,
        factor=draw(st.floats(min_value=1, max_value=100)),
        max_interval=draw(st.none() | st.floats(min_value=initial, max_value=1e9)),
        max_attempts=draw(st.none() | st.integers(1, 1000)) if limited else None,
        max_duration=draw(st.none() | seconds) if limited else None,
    )


def delay(policy: RetryPolicy, attempts: int, elapsed: float = 0) -> float:
    answer = policy.next_delay(attempts, elapsed)
    assert isinstance(answer, float)
    return answer


def test_the_default_policy_doubles_from_50_milliseconds_up_to_10_seconds_for_ever() -> None:
    policy = RetryPolicy()
    assert [delay(policy, attempts) for attempts in range(1, 10)] == [
        0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0,
    ]  # fmt: skip
    assert delay(policy, 10**6, elapsed=1e9) == 10


def test_a_factor_of_one_keeps_the_interval_constant() -> None:
    policy = RetryPolicy(initial_interval=0.003, factor=1)
    assert {delay(policy, attempts) for attempts in range(1, 50)} == {0.003}


@given(policies(limited=False), st.integers(1, 10**6), seconds)
def test_without_limits_there_is_always_a_next_try(policy: RetryPolicy, attempts: int, elapsed: float) -> None:
    assert isinstance(policy.next_delay(attempts, elapsed), float)


@given(policies(limited=False), st.integers(1, 10**5), st.integers(0, 10**5))
def test_delays_never_shrink(policy: RetryPolicy, attempts: int, more: int) -> None:
    assert delay(policy, attempts) <= delay(policy, attempts + more)


@given(policies(limited=False), st.integers(1, 10**6))
def test_delays_stay_between_the_first_and_the_longest_interval(policy: RetryPolicy, attempts: int) -> None:
    longest = LONGEST_DELAY if policy.max_interval is None else min(policy.max_interval, LONGEST_DELAY)
    assert min(policy.initial_interval, longest) <= delay(policy, attempts) <= longest


@given(policies(limited=False), st.floats(0, 1e9))
def test_elapsed_time_alone_does_not_change_a_delay(policy: RetryPolicy, elapsed: float) -> None:
    assert delay(policy, 3, elapsed) == delay(policy, 3, 0)


@given(st.integers(1, 10**6))
def test_the_last_attempt_is_the_max_attempts_th(limit: int) -> None:
    policy = RetryPolicy(max_attempts=limit)
    assert policy.next_delay(limit, 0) is Exhausted.ATTEMPTS
    assert policy.next_delay(limit + 1, 0) is Exhausted.ATTEMPTS
    assert limit == 1 or isinstance(policy.next_delay(limit - 1, 0), float)


def test_a_single_attempt_is_never_repeated() -> None:
    assert RetryPolicy(max_attempts=1).next_delay(1, 0) is Exhausted.ATTEMPTS


def test_no_try_is_started_once_max_duration_has_passed() -> None:
    policy = RetryPolicy(max_duration=60)
    assert isinstance(policy.next_delay(5, 59.999), float)
    assert policy.next_delay(5, 60.0) is Exhausted.DURATION
    assert policy.next_delay(5, 61.0) is Exhausted.DURATION


def test_a_max_duration_of_zero_allows_the_first_try_only() -> None:
    assert RetryPolicy(max_duration=0).next_delay(1, 0) is Exhausted.DURATION


def test_attempts_are_looked_at_before_time() -> None:
    assert RetryPolicy(max_attempts=2, max_duration=1).next_delay(2, 1) is Exhausted.ATTEMPTS


def test_an_interval_of_zero_stays_zero_even_where_its_factor_overflows() -> None:
    assert delay(RetryPolicy(initial_interval=0, max_interval=None), 10**6) == 0.0


def test_a_factor_that_overflows_gives_the_longest_delay() -> None:
    assert delay(RetryPolicy(max_interval=None), 10**6) == LONGEST_DELAY


def test_no_delay_is_longer_than_a_year() -> None:
    policy = RetryPolicy(initial_interval=2 * LONGEST_DELAY, max_interval=3 * LONGEST_DELAY)
    assert delay(policy, 1) == LONGEST_DELAY
    assert delay(RetryPolicy(initial_interval=1.0, max_interval=3 * LONGEST_DELAY), 10**6) == LONGEST_DELAY


def test_the_largest_interval_may_equal_the_first() -> None:
    assert delay(RetryPolicy(initial_interval=5, max_interval=5), 7) == 5


def test_policies_are_equal_as_data_and_cannot_be_changed() -> None:
    assert RetryPolicy(factor=3) == RetryPolicy(factor=3)
    assert len({RetryPolicy(factor=3), RetryPolicy(factor=3)}) == 1
    with pytest.raises(AttributeError):
        RetryPolicy().factor = 3  # type: ignore[misc]  # that is the point


def test_arguments_are_named() -> None:
    with pytest.raises(TypeError):
        RetryPolicy(5)  # type: ignore[call-arg]  # that is the point


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"initial_interval": -0.1}, "initial_interval is at least 0 seconds and finite, not -0.1"),
        ({"initial_interval": float("nan")}, "initial_interval is at least 0 seconds"),
        ({"initial_interval": float("inf")}, "initial_interval is at least 0 seconds"),
        ({"initial_interval": "1"}, "initial_interval is a number of seconds, not '1'"),
        ({"initial_interval": timedelta(seconds=1)}, "initial_interval is a number of seconds"),
        ({"initial_interval": True}, "initial_interval is a number of seconds, not True"),
        ({"factor": 0.99}, "factor is at least 1 and finite, not 0.99"),
        ({"factor": "2"}, "factor is a number, not '2'"),
        ({"max_interval": -1}, "max_interval is at least 0 seconds"),
        ({"max_interval": 0.01}, r"initial_interval \(0.05 s\) is longer than max_interval \(0.01 s\)"),
        ({"initial_interval": 60}, "raise max_interval, or set it to None"),
        ({"max_attempts": 0}, "a whole number from 1, not 0"),
        ({"max_attempts": 2.0}, "a whole number from 1, not 2.0"),
        ({"max_attempts": True}, "a whole number from 1, not True"),
        ({"max_duration": -1}, "max_duration is at least 0 seconds"),
        ({"max_duration": float("inf")}, "max_duration is at least 0 seconds and finite"),
        ({"on_exhausted": "kill"}, "on_exhausted is 'fail' or 'pause', not 'kill'"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RetryPolicy(**arguments)


@given(policies(), st.floats(0, 1e6))
def test_the_tries_within_a_limit_are_those_before_the_first_longer_delay(policy: RetryPolicy, limit: float) -> None:
    tries = policy.tries_within(limit)
    delays = [policy.next_delay(attempts, 0) for attempts in range(1, 1000)]
    if tries:
        assert all(isinstance(delay, float) and delay <= limit for delay in delays[:tries])
        longer = delays[tries]
        assert isinstance(longer, float)
        assert longer > limit
