"""The approval example: three ways in which an expense ends."""

from __future__ import annotations

import anyio
import pytest

from examples.approval import Answer, Expense, Question, decide, questions, submit, withdraw
from perdure import Client
from perdure.testing import run

pytestmark = pytest.mark.anyio

APP = "examples.approval:app"
READY = "/Inbox/nobody/questions", b""


async def asked(client: Client, manager: str) -> Question:
    """The question that is in the inbox, as soon as it is."""
    with anyio.fail_after(20):
        while True:
            if found := await client.call(questions, key=manager):
                return found[0]
            await anyio.sleep(0.01)


@pytest.mark.parametrize(("approved", "outcome"), [(True, "approved"), (False, "refused")])
async def test_the_manager_decides(client: Client, key: str, approved: bool, outcome: str) -> None:
    sent = await client.send(submit, Expense("a chair", 120, manager=key))
    question = await asked(client, key)
    await client.call(decide, Answer(question.id, approved), key=key)
    assert await sent.attach() == outcome
    assert await client.call(questions, key=key) == []


async def test_the_author_withdraws(client: Client, key: str) -> None:
    sent = await client.send(submit, Expense("a chair", 120, manager=key))
    question = await asked(client, key)
    assert question.invocation == sent.invocation_id
    await client.call(withdraw, sent.invocation_id)
    assert await sent.attach() == "withdrawn: by its author"


async def test_whoever_does_not_answer_is_too_late(client: Client, key: str) -> None:
    outcome = await client.call(submit, Expense("a chair", 120, manager=key, patience=0.05))
    assert outcome == f"{key} did not answer in time"


async def test_the_id_of_an_awakeable_is_enough_to_answer(client: Client, key: str) -> None:
    sent = await client.send(submit, Expense("a chair", 120, manager=key))
    await client.resolve_awakeable((await asked(client, key)).id, True)
    assert await sent.attach() == "approved"


EXPENSE = Expense("a chair", 120, manager="grace")


async def test_a_decision_in_the_journal_is_replayed() -> None:
    ran = await run(submit, EXPENSE, awakeables=[False], always_replay=True)
    assert ran.result == "refused"


async def test_a_signal_in_the_journal_is_replayed() -> None:
    ran = await run(submit, EXPENSE, signals=[("withdraw", "found one")], always_replay=True)
    assert ran.result == "withdrawn: found one"


async def test_three_days_pass_at_once_in_memory() -> None:
    ran = await run(submit, EXPENSE, always_replay=True)
    assert ran.result == "grace did not answer in time"
