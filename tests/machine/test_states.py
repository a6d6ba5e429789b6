"""The table of an attempt's states, written out a second time and compared pair by pair."""

from __future__ import annotations

import itertools

import pytest

from perdure.exceptions import ProtocolError
from perdure.machine.states import INPUT, TRANSITIONS, Event, State, next_state

S = State
E = Event

# Rows as the theory in the module tells them: what is not named here is an error.
ALLOWED: dict[tuple[State, Event], State] = {
    (S.AWAITING_START, E.START): S.AWAITING_ENTRIES,
    (S.AWAITING_START, E.FAIL): S.CLOSED,
    (S.AWAITING_ENTRIES, E.ENTRY): S.AWAITING_ENTRIES,
    (S.AWAITING_ENTRIES, E.LAST_ENTRY): S.REPLAYING,
    (S.AWAITING_ENTRIES, E.FAIL): S.CLOSED,
    (S.REPLAYING, E.NOTIFICATION): S.REPLAYING,
    (S.REPLAYING, E.INPUT_CLOSED): S.REPLAYING,
    (S.REPLAYING, E.REPEATED): S.REPLAYING,
    (S.REPLAYING, E.LAST_REPEATED): S.PROCESSING,
    (S.REPLAYING, E.FAIL): S.CLOSED,
    (S.PROCESSING, E.NOTIFICATION): S.PROCESSING,
    (S.PROCESSING, E.INPUT_CLOSED): S.PROCESSING,
    (S.PROCESSING, E.COMMAND): S.PROCESSING,
    (S.PROCESSING, E.PROPOSAL): S.PROCESSING,
    (S.PROCESSING, E.SUSPEND): S.CLOSED,
    (S.PROCESSING, E.END): S.CLOSED,
    (S.PROCESSING, E.FAIL): S.CLOSED,
    **{(S.CLOSED, late): S.CLOSED for late in (E.START, E.ENTRY, E.LAST_ENTRY, E.NOTIFICATION, E.INPUT_CLOSED, E.FAIL)},
}
PAIRS = list(itertools.product(State, Event))
BY_PEER = {E.START, E.ENTRY, E.LAST_ENTRY, E.NOTIFICATION, E.INPUT_CLOSED}


def _id(value: State | Event) -> str:
    return value.name


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in ALLOWED], ids=_id)
def test_an_allowed_event_leads_to_the_state_of_the_table(state: State, event: Event) -> None:
    assert next_state(state, event) is ALLOWED[state, event]


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in PAIRS if pair not in ALLOWED and pair[1] in BY_PEER], ids=_id
)
def test_what_the_peer_may_not_send_is_a_protocol_error_that_names_both(state: State, event: Event) -> None:
    with pytest.raises(ProtocolError, match=state.value) as raised:
        next_state(state, event)
    assert ("cut off" if event is E.INPUT_CLOSED else f"sent {event.value} ") in str(raised.value)


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in PAIRS if pair not in ALLOWED and pair[1] not in BY_PEER], ids=_id
)
def test_what_perdure_itself_may_not_do_is_a_bug_and_says_so(state: State, event: Event) -> None:
    with pytest.raises(RuntimeError, match=f"{event.value} is not possible .* {state.value}: please report this"):
        next_state(state, event)


def test_the_table_holds_no_pair_beyond_those_listed_here() -> None:
    assert {(state, event) for state, row in TRANSITIONS.items() for event in row} == set(ALLOWED)


def test_the_events_of_the_peer_are_told_apart() -> None:
    assert set(INPUT) == BY_PEER


def test_every_state_can_be_reached_from_the_first() -> None:
    reached, frontier = {S.AWAITING_START}, [S.AWAITING_START]
    while frontier:
        for following in TRANSITIONS[frontier.pop()].values():
            if following not in reached:
                reached.add(following)
                frontier.append(following)
    assert reached == set(State)


def test_an_attempt_that_processes_never_replays_again() -> None:
    assert S.REPLAYING not in {*TRANSITIONS[S.PROCESSING].values(), *TRANSITIONS[S.CLOSED].values()}


def test_only_the_ends_of_an_attempt_lead_to_closed() -> None:
    ends = {event for (state, event), to in ALLOWED.items() if to is S.CLOSED and state is not S.CLOSED}
    assert ends == {E.SUSPEND, E.END, E.FAIL}
