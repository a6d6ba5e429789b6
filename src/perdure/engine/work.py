"""Work that is too much for one transaction, done in pages between the other batches.

A page reads what is left, does some of it, and stores how far it is, so that a crash repeats nothing and forgets
nothing. The oldest work goes first: a tree is killed level by level, without recursion.
"""

from __future__ import annotations

from msgspec.structs import replace

from perdure.engine.commands import answer_promise
from perdure.engine.draft import Draft
from perdure.engine.endings import PAGE, absent, answer, forget, keep_until
from perdure.engine.operations import kill
from perdure.engine.outputs import MoreWork
from perdure.engine.rows import DeleteJournal, DeleteWork, PutWork, WorkKind
from perdure.wire.ids import parse_invocation_id
from perdure.wire.messages import CallInvocationIdCompletion

__all__ = ["do_page"]


def do_page(draft: Draft) -> None:
    """Do a page of the oldest work."""
    work = draft.view.work()
    if work is None:
        return
    draft.urgent = True
    match work.kind:
        case WorkKind.KILL_CHILDREN:
            done = _kill_children(draft, work)
        case WorkKind.ANSWER:
            done = _answer(draft, work)
        case WorkKind.ANSWER_PROMISE:
            done = _answer_promise(draft, work)
    if done:
        draft.rows.append(DeleteWork(work.work))
        _settle(draft, work.number)
    draft.outputs.append(MoreWork())


def _kill_children(draft: Draft, work: PutWork) -> bool:
    entries = draft.view.entries(work.number, work.position, PAGE)
    for entry in entries:
        if isinstance(entry, CallInvocationIdCompletion) and entry.result is not None:
            number = draft.view.find(parse_invocation_id(entry.result.id))
            child = draft.view.invocation(number) if number else None
            if child is not None:
                kill(draft, child)
    if len(entries) < PAGE:
        return True
    draft.rows.append(replace(work, position=work.position + len(entries)))
    return False


def _answer(draft: Draft, work: PutWork) -> bool:
    entity = draft.view.invocation(work.number)
    if entity is None or entity.result is None:
        return True
    return answer(draft, entity, entity.result)


def _answer_promise(draft: Draft, work: PutWork) -> bool:
    promise = draft.view.promise(work.service, work.key, work.name)
    if promise is None or promise.result is None:
        return True
    return answer_promise(draft, promise, promise.result)


def _settle(draft: Draft, number: int) -> None:
    """The work about an invocation is done: what had to wait for it is done now."""
    entity = draft.view.invocation(number) if number else None
    if entity is None or draft.view.works_about(number):
        return
    if absent(draft, entity):
        forget(draft, entity)
    elif keep_until(entity, entity.ended_at)[1] <= draft.now:
        draft.rows.append(DeleteJournal(number))
