"""Waiting for people: an expense is decided by a manager, withdrawn by its author, or too late.

Three ways to be told something meanwhile, and `select` for whichever comes first: an awakeable (whoever has its id
completes it), a signal (by name, to an invocation), and a timer.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

import perdure
from perdure import Case, Context, ObjectContext, Service, SharedObjectContext, StateKey, VirtualObject

expenses = Service("Expenses")
inbox = VirtualObject("Inbox")


class Expense(msgspec.Struct):
    what: str
    amount: float
    manager: str
    patience: float = timedelta(days=3).total_seconds()


class Question(msgspec.Struct):
    id: str  # of the awakeable: whoever has it can answer
    expense: Expense
    invocation: str


class Answer(msgspec.Struct):
    id: str
    approved: bool


# --- the manager's inbox -------------------------------------------------------------------------------------------

open_questions = StateKey("open", list[Question], default=[])


@inbox.handler
async def ask(ctx: ObjectContext, question: Question) -> None:
    """Put a question into the inbox of the manager whose key this is."""
    ctx.set(open_questions, [*await ctx.get(open_questions), question])


@inbox.handler
async def decide(ctx: ObjectContext, answer: Answer) -> None:
    """Answer a question."""
    ctx.resolve_awakeable(answer.id, answer.approved)
    ctx.set(open_questions, [one for one in await ctx.get(open_questions) if one.id != answer.id])


@inbox.shared
async def questions(ctx: SharedObjectContext) -> list[Question]:
    """What waits for an answer."""
    return await ctx.get(open_questions)


# --- the expense ---------------------------------------------------------------------------------------------------


class Decided(Case[bool]): ...


class Withdrawn(Case[str]): ...


class Late(Case[None]): ...


@expenses.handler
async def submit(ctx: Context, expense: Expense) -> str:
    """Wait for what becomes of an expense."""
    decision = ctx.awakeable(bool)
    ctx.send(ask, Question(decision.id, expense, ctx.invocation_id), key=expense.manager)
    withdrawal = ctx.signal("withdraw", str)
    match await ctx.select(Decided(decision), Withdrawn(withdrawal), Late(ctx.sleep(expense.patience))):
        case Decided(True):
            return "approved"
        case Decided(_):
            return "refused"
        case Withdrawn(reason):
            return f"withdrawn: {reason}"
        case Late():
            return f"{expense.manager} did not answer in time"


@expenses.handler
async def withdraw(ctx: Context, invocation: str) -> None:
    """Take an expense back while it waits."""
    ctx.invocation(invocation).signal("withdraw").resolve("by its author")


app = perdure.Endpoint(expenses, inbox)
