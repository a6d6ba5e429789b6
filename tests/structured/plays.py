"""Handlers run in memory, in one attempt and replayed at every await; both must give the same."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from perdure import Service
from perdure.exceptions import TerminalError
from perdure.testing import Ran, run
from perdure.wire.messages import Command

__all__ = ["played", "result_of"]

Handler = Callable[..., Coroutine[Any, Any, Any]]


async def played(handler: Handler, **options: Any) -> Ran[Any]:
    """Run a function as a handler, in one go and then with a suspension at every await; the first run."""
    service = Service("Played")
    made = service.handler(name="handler")(handler)
    whole: Ran[Any] = await run(made, **options)
    replayed: Ran[Any] = await run(made, always_replay=True, **options)
    assert outcome(whole) == outcome(replayed)
    assert kinds(whole.commands) == kinds(replayed.commands)
    return whole


def outcome(ran: Ran[Any]) -> Any:
    failure = ran.failure
    return failure if failure is not None else ran.result


def kinds(commands: list[Command]) -> list[tuple[str, str]]:
    return [(type(command).__name__, str(getattr(command, "name", ""))) for command in commands]


async def result_of(handler: Handler, **options: Any) -> Any:
    """The result of such a run, or its failure as `code message`."""
    told = outcome(await played(handler, **options))
    return f"{told.code} {told.message}" if isinstance(told, TerminalError) else told
