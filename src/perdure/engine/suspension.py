"""Whether what a suspended invocation waits for is there.

The question is put twice: when an attempt wants to suspend, to all notifications of the journal, because one may have
been committed while the message was under way; and when a notification arrives for one that is suspended.

A completion is there when its id was given out and is not open any more. A signal is there when one of its index or
name came after the entries that the attempt had seen: those before it were used up.
"""

from __future__ import annotations

from typing import Final

from perdure.engine.entities import InvocationEntity
from perdure.engine.rows import Awaited
from perdure.wire.messages import CombinatorType, Future, SuspensionMessage

__all__ = ["fault", "point_of", "satisfied"]

_DEEPEST: Final = 100
"""Await points in await points."""

_PENDING: Final = 0
_SUCCEEDED: Final = 1
_FAILED: Final = 2


def point_of(message: SuspensionMessage) -> Future:
    """The await tree of a suspension: version 7 sends it, the others list its leaves."""
    if message.awaiting_on is not None:
        return message.awaiting_on
    return Future(
        message.waiting_completions,
        message.waiting_signals,
        message.waiting_named_signals,
        (),
        CombinatorType.FIRST_COMPLETED,
    )


def fault(entity: InvocationEntity, point: Future) -> str:
    """Why nobody can wait for this; empty when one can."""
    level: tuple[Future, ...] = (point,)
    leaves = 0
    for _ in range(_DEEPEST):
        for future in level:
            for id in future.waiting_completions:
                if not 0 < id <= entity.last_completion:
                    return f"it waits for completion {id}, which no command asked for"
            leaves += len(future.waiting_completions) + len(future.waiting_signals) + len(future.waiting_named_signals)
        level = tuple(nested for future in level for nested in future.nested_futures)
        if not level:
            return "" if leaves else "it waits for nothing, so nothing could resume it"
    return f"it waits for await points nested deeper than {_DEEPEST}"


def satisfied(entity: InvocationEntity, awaited: Awaited) -> bool:
    """Whether the journal holds what is waited for."""
    return _state(entity, awaited.point, awaited.seen) != _PENDING


def _state(entity: InvocationEntity, point: Future, seen: int) -> int:
    states = [
        _PENDING if id in entity.open else _FAILED if id in entity.failed else _SUCCEEDED
        for id in point.waiting_completions
    ]
    signals: tuple[int | str, ...] = (*point.waiting_signals, *point.waiting_named_signals)
    for signal in signals:
        last, failed = entity.signals.get(signal, (-1, False))
        states.append(_PENDING if last < 0 or last < seen else _FAILED if failed else _SUCCEEDED)
    states.extend(_state(entity, nested, seen) for nested in point.nested_futures)
    match point.combinator_type:
        case CombinatorType.ALL_COMPLETED:
            return _PENDING if _PENDING in states else _SUCCEEDED
        case CombinatorType.FIRST_SUCCEEDED_OR_ALL_FAILED:
            return _SUCCEEDED if _SUCCEEDED in states else _PENDING if _PENDING in states else _FAILED
        case CombinatorType.ALL_SUCCEEDED_OR_FIRST_FAILED:
            return _FAILED if _FAILED in states else _PENDING if _PENDING in states else _SUCCEEDED
        case _:
            return _SUCCEEDED if _SUCCEEDED in states else _FAILED if _FAILED in states else _PENDING
