"""The states of one attempt, and every move between them, as data.

Theory
======

An *attempt* is one run of a handler against one journal. The runtime opens it with a `StartMessage`, which announces
how many journal entries follow, then sends those entries: commands (what the handler did in earlier attempts) and
notifications (what came back). Only when all of them are here does user code start.

::

    AWAITING_START --start--> AWAITING_ENTRIES --last entry--> REPLAYING --last command--> PROCESSING
          |                          |                            |                            |
          +--------------------------+------------ fail ----------+------ suspend, end, fail --+--> CLOSED

* In `REPLAYING` every command of the handler is compared with the recorded one and nothing is written.
* The attempt is `PROCESSING` as soon as the last recorded *command* was repeated. Recorded notifications may still wait
  to be delivered; they never force a return to `REPLAYING`.
* `CLOSED` is entered with exactly one of `EndMessage`, `SuspensionMessage` and `ErrorMessage`, and is never left. Input
  that arrives then is late, not wrong: it is ignored.

What the table cannot express
=============================

* *Which* command is allowed in `REPLAYING`: the recorded one (`perdure.machine.journal`).
* That a notification is delivered only when no branch of the handler can run (`perdure.durable.turns`).
* That `EndMessage` follows an `OutputCommand`: a lone end of an invocation that wrote no command stops a
  restate-server 1.7 (`Invocation.end` refuses it).

The diagram in the documentation is drawn from `TRANSITIONS`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from perdure.exceptions import ProtocolError

__all__ = ["INPUT", "TRANSITIONS", "Event", "State", "next_state"]


class State(enum.Enum):
    """Where an attempt is."""

    AWAITING_START = "awaiting start"
    AWAITING_ENTRIES = "awaiting entries"
    REPLAYING = "replaying"
    PROCESSING = "processing"
    CLOSED = "closed"

    if not TYPE_CHECKING:  # members are singletons, and the identity hash is the fast one; its type is Enum's
        __hash__ = object.__hash__


class Event(enum.Enum):
    """What moves an attempt."""

    START = "start"  # in: the start message
    ENTRY = "entry"  # in: a journal entry, more to come
    LAST_ENTRY = "last entry"  # in: the last announced entry
    NOTIFICATION = "notification"  # in: a completion, a signal or an ack, while user code runs
    INPUT_CLOSED = "input closed"  # in: the runtime sends no more
    REPEATED = "repeated"  # out: a command equal to the recorded one, more recorded
    LAST_REPEATED = "last repeated"  # out: the last recorded command was repeated
    COMMAND = "command"  # out: a new command
    PROPOSAL = "proposal"  # out: the result of a closure
    SUSPEND = "suspend"  # out
    END = "end"  # out
    FAIL = "fail"  # out

    if not TYPE_CHECKING:
        __hash__ = object.__hash__


_S = State
_E = Event

TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    _S.AWAITING_START: {_E.START: _S.AWAITING_ENTRIES, _E.FAIL: _S.CLOSED},
    _S.AWAITING_ENTRIES: {_E.ENTRY: _S.AWAITING_ENTRIES, _E.LAST_ENTRY: _S.REPLAYING, _E.FAIL: _S.CLOSED},
    _S.REPLAYING: {
        _E.NOTIFICATION: _S.REPLAYING,
        _E.INPUT_CLOSED: _S.REPLAYING,
        _E.REPEATED: _S.REPLAYING,
        _E.LAST_REPEATED: _S.PROCESSING,
        _E.FAIL: _S.CLOSED,
    },
    _S.PROCESSING: {
        _E.NOTIFICATION: _S.PROCESSING,
        _E.INPUT_CLOSED: _S.PROCESSING,
        _E.COMMAND: _S.PROCESSING,
        _E.PROPOSAL: _S.PROCESSING,
        _E.SUSPEND: _S.CLOSED,
        _E.END: _S.CLOSED,
        _E.FAIL: _S.CLOSED,
    },
    _S.CLOSED: {
        _E.START: _S.CLOSED,
        _E.ENTRY: _S.CLOSED,
        _E.LAST_ENTRY: _S.CLOSED,
        _E.NOTIFICATION: _S.CLOSED,
        _E.INPUT_CLOSED: _S.CLOSED,
        _E.FAIL: _S.CLOSED,
    },
}
"""`TRANSITIONS[state][event]` is the next state; a missing pair is an error."""

INPUT: Final = frozenset({_E.START, _E.ENTRY, _E.LAST_ENTRY, _E.NOTIFICATION, _E.INPUT_CLOSED})
"""Events that the peer causes; where one of them is not allowed, the peer broke the protocol."""


def next_state(state: State, event: Event) -> State:
    """The state after `event`.

    Raises:
        ProtocolError: the peer did what is not allowed in this state.
        RuntimeError: perdure itself did, which is a bug.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        pass
    if event is Event.INPUT_CLOSED:
        raise ProtocolError(
            f"the runtime closed the request while the attempt was {state.value}: the journal is cut off"
        )
    if event in INPUT:
        raise ProtocolError(f"the runtime sent {event.value} while the attempt was {state.value}")
    raise RuntimeError(f"{event.value} is not possible while the attempt is {state.value}: please report this")
