"""Steps: when closures run, how they are tried again, what they hand over, what becomes of those nobody took."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from perdure import FailError, PauseError, RetryableError, RetryPolicy, SerdeError, TerminalError, UsageError
from perdure.durable.driver import End
from perdure.durable.outcome import RUN_CANCELLED
from perdure.wire.messages import (
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    ErrorBehavior,
    ErrorMessage,
    Failure,
    InvocationId,
    Message,
    OutputCommand,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SleepCommand,
    SleepCompletion,
    Value,
    Void,
)
from tests.durable.attempts import V5, V6, V7, Peer, StandingClock, attempt, ticks

pytestmark = pytest.mark.anyio

VOID = Void()


async def quick() -> int:
    return 1


async def answering(peer: Peer) -> None:
    """Store every proposal."""
    while True:
        proposal = await peer.hears(ProposeRunCompletionMessage)
        id = proposal.result_completion_id
        assert proposal.result is not None
        peer.tells(ProposeRunCompletionAckMessage(id) if proposal.requested_ack else RunCompletion(id, proposal.result))


async def outcome(handler: Any, *entries: Message, clock: StandingClock | None = None, **start: Any) -> Peer:
    """Run an attempt whose steps are stored at once; returns what was said."""
    peer = Peer(*entries, **start)
    async with anyio.create_task_group() as tasks:
        async with attempt(handler, peer, clock=clock) as running:
            tasks.start_soon(answering, peer)
            await running.ended()
        tasks.cancel_scope.cancel()
    return peer


def error_of(peer: Peer) -> ErrorMessage:
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    return error


# --- when closures run ---------------------------------------------------------------------------------------------


async def test_a_closure_runs_once_and_its_value_is_what_was_journaled() -> None:
    runs = 0

    async def step() -> tuple[int, ...]:
        nonlocal runs
        runs += 1
        return (1, 2)

    async def handler(ctx: Any) -> str:
        first = ctx.run(step)
        return f"{await first} {await first}"

    peer = await outcome(handler)
    assert (runs, peer.output) == (1, '"(1, 2) (1, 2)"')


async def test_a_value_without_annotation_is_that_of_json_in_the_first_attempt_too() -> None:
    async def step():  # type: ignore[no-untyped-def]  # the point of the test
        return (1, 2)

    async def handler(ctx: Any) -> str:
        return repr(await ctx.run(step))

    assert (await outcome(handler)).output == '"[1, 2]"'


async def test_no_closure_runs_whose_result_is_recorded() -> None:
    runs = 0

    async def step() -> int:
        nonlocal runs
        runs += 1
        return 2

    async def handler(ctx: Any) -> list[int]:
        first, second = ctx.run(step), ctx.run(step)
        return [await second, await first]

    peer = await outcome(
        handler,
        RunCommand(1, "step"),
        RunCommand(2, "step"),
        RunCompletion(1, Value(b"7")),
        RunCompletion(2, Value(b"8")),
    )
    assert (runs, peer.output) == (0, "[8,7]")


async def test_a_recorded_step_without_a_result_runs_again() -> None:
    async def handler(ctx: Any) -> int:
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    peer = await outcome(handler, RunCommand(1, "quick"))
    assert peer.kinds == ["ProposeRunCompletionMessage", "OutputCommand", "EndMessage"]


async def test_closures_run_side_by_side_without_the_turn() -> None:
    met = [anyio.Event(), anyio.Event()]

    async def meets(own: int) -> int:
        met[own].set()
        await met[1 - own].wait()
        return own

    async def handler(ctx: Any) -> list[int]:
        return list(await ctx.gather(ctx.run(meets, 0), ctx.run(meets, 1)))

    assert (await outcome(handler)).output == "[0,1]"


async def test_no_closure_starts_before_everything_recorded_is_delivered() -> None:
    started: list[str] = []

    async def noted(name: str) -> str:
        started.append(name)
        return name

    async def handler(ctx: Any) -> None:
        open_step = ctx.run(noted, "open", name="open")
        await ctx.sleep(1)
        assert started == []
        await open_step

    await outcome(handler, RunCommand(1, "open"), SleepCommand(0, 2), SleepCompletion(2, VOID))
    assert started == ["open"]


@pytest.mark.parametrize("version", [V5, V6, V7], ids=["V5", "V6", "V7"])
async def test_a_result_counts_when_the_runtime_has_stored_it(version: Any) -> None:
    async def handler(ctx: Any) -> bool:
        step = ctx.run(quick)
        await ctx.first(step, ctx.sleep(1))
        return bool(step.done)

    peer = Peer()
    async with attempt(handler, peer, version=version):
        await peer.hears(ProposeRunCompletionMessage)
        stored: Message = ProposeRunCompletionAckMessage(1) if version is V7 else RunCompletion(1, Value(b"1"))
        peer.tells(SleepCompletion(2, VOID), stored)
    assert peer.output == "false"


async def test_a_stored_result_that_comes_as_a_completion_in_version_7_counts_too() -> None:
    async def handler(ctx: Any) -> int:
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer, version=V7):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"1")))
    assert peer.output == "1"


# --- kinds of functions --------------------------------------------------------------------------------------------


def plain(value: int) -> int:
    return value


class Asynchronous:
    async def __call__(self) -> int:
        return 5


class Plain:
    def __call__(self) -> int:
        return 6


STEPS: list[tuple[str, Callable[[Any], Any], str, str]] = [
    ("coroutine function", lambda ctx: ctx.run(quick), "quick", "1"),
    ("plain function", lambda ctx: ctx.run(plain, 3), "plain", "3"),
    ("partial", lambda ctx: ctx.run(functools.partial(plain, 4)), "plain", "4"),
    ("object with an async call", lambda ctx: ctx.run(Asynchronous()), "Asynchronous", "5"),
    ("object with a call", lambda ctx: ctx.run(Plain()), "Plain", "6"),
    ("lambda", lambda ctx: ctx.run(lambda: 7), "step", "7"),
    ("lambda of a coroutine", lambda ctx: ctx.run(lambda: quick()), "step", "1"),  # noqa: PLW0108 - the point
    ("partial of a coroutine function", lambda ctx: ctx.run(functools.partial(quick)), "quick", "1"),
    ("a name of its own", lambda ctx: ctx.run(quick, name="own"), "own", "1"),
]


@pytest.mark.parametrize(("make", "name", "result"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS])
async def test_any_callable_is_a_step(make: Callable[[Any], Any], name: str, result: str) -> None:
    async def handler(ctx: Any) -> Any:
        return await make(ctx)

    peer = await outcome(handler)
    assert (peer.sent[0], peer.output) == (RunCommand(1, name), result)


async def test_a_plain_function_runs_in_a_thread_and_may_start_a_loop_of_its_own() -> None:
    async def inner() -> int:
        await anyio.lowlevel.checkpoint()
        return 8

    def step() -> int:
        return anyio.run(inner)

    async def handler(ctx: Any) -> int:
        return await ctx.run(step)  # type: ignore[no-any-return]  # the context is any

    assert (await outcome(handler)).output == "8"


async def test_a_plain_function_may_call_back_into_the_loop() -> None:
    def step() -> int:
        return anyio.from_thread.run(quick)

    async def handler(ctx: Any) -> int:
        return await ctx.run(step)  # type: ignore[no-any-return]  # the context is any

    assert (await outcome(handler)).output == "1"


# --- context variables ---------------------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
@pytest.mark.parametrize("awaited", [True, False], ids=["awaited", "gathered"])
async def test_a_context_variable_set_in_a_closure_does_not_leak(kind: str, awaited: bool) -> None:
    async def coroutine() -> str:
        before = variable.get()
        variable.set("inside")
        await anyio.lowlevel.checkpoint()
        return f"{before} {variable.get()}"

    def thread() -> str:
        before = variable.get()
        variable.set("inside")
        return f"{before} {variable.get()}"

    async def handler(ctx: Any) -> list[str]:
        variable.set("outside")
        step = ctx.run(coroutine if kind == "coroutine" else thread)
        variable.set("later")
        seen = await step if awaited else (await ctx.gather(step))[0]
        return [seen, variable.get()]

    assert (await outcome(handler)).output == '["outside inside","later"]'


async def test_each_try_gets_the_context_as_it_was_at_the_run() -> None:
    seen: list[str] = []

    async def step() -> None:
        seen.append(variable.get())
        variable.set("left behind")
        if len(seen) < 3:
            raise ValueError("again")

    async def handler(ctx: Any) -> None:
        variable.set("outside")
        await ctx.run(step)

    await outcome(handler)
    assert seen == ["outside"] * 3


# --- trying again --------------------------------------------------------------------------------------------------


async def test_short_pauses_are_waited_for_within_the_attempt() -> None:
    clock = StandingClock()
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ValueError("again")
        return tries

    async def handler(ctx: Any) -> int:
        return await ctx.run(step)  # type: ignore[no-any-return]  # the context is any

    peer = await outcome(handler, clock=clock)
    assert (peer.output, clock.slept) == ("4", [0.05, 0.1, 0.2])


async def test_a_long_pause_ends_the_attempt_and_names_step_and_delay() -> None:
    async def step() -> None:
        raise ValueError("again")

    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        await ctx.run(step, retry=RetryPolicy(initial_interval=5))

    error = error_of(await outcome(handler))
    assert error.message == "ValueError: again"
    assert (error.code, error.next_retry_delay, error.behavior) == (500, 5000, ErrorBehavior.RETRY)
    assert (error.related_command_index, error.related_command_name) == (2, "step")
    assert error.related_command_type == RunCommand.type_code
    assert "raise ValueError" in error.stacktrace


async def test_a_retry_after_decides_the_pause() -> None:
    clock = StandingClock()
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RetryableError("soon", retry_after=0.7)
        raise RetryableError("later", retry_after=7)

    async def handler(ctx: Any) -> None:
        await ctx.run(step)

    error = error_of(await outcome(handler, clock=clock))
    assert (error.message, error.next_retry_delay, clock.slept) == ("later", 7000, [0.7])


async def test_tries_of_several_attempts_are_counted_together() -> None:
    policy = RetryPolicy(initial_interval=0.4, factor=2, max_attempts=5)
    tries = 0
    delays: list[float] = []

    async def step() -> None:
        nonlocal tries
        tries += 1
        raise ValueError("again")

    async def handler(ctx: Any) -> None:
        await ctx.run(step, retry=policy)

    entries: list[Message] = []
    for retries in range(10):
        clock = StandingClock()
        peer = await outcome(handler, *entries, clock=clock, retries=retries)
        entries = [RunCommand(1, "step")]
        delays += clock.slept
        if not isinstance(peer.sent[-1], ErrorMessage):
            break
        delays.append((peer.sent[-1].next_retry_delay or 0) / 1000)
    assert (tries, delays) == (5, [0.4, 0.8, 1.6, 3.2])
    assert peer.output == Failure(500, "again")


async def test_the_time_of_earlier_attempts_counts_for_a_duration() -> None:
    async def step() -> None:
        raise ValueError("again")

    async def handler(ctx: Any) -> None:
        await ctx.run(step, retry=RetryPolicy(max_duration=10))

    peer = await outcome(handler, RunCommand(1, "step"), retries=1, milliseconds=10_000)
    assert peer.output == Failure(500, "again")


async def test_an_exhausted_policy_may_pause_the_invocation() -> None:
    async def step() -> None:
        raise ValueError("again")

    async def handler(ctx: Any) -> None:
        await ctx.run(step, retry=RetryPolicy(max_attempts=1, on_exhausted="pause"))

    peer = Peer()
    async with attempt(handler, peer, version=V7) as running:
        assert await running.ended() is End.FAILED
    assert error_of(peer).behavior is ErrorBehavior.PAUSE


async def test_an_exhausted_step_can_be_handled_as_terminal() -> None:
    async def step() -> None:
        raise ValueError("again")

    async def handler(ctx: Any) -> str:
        try:
            await ctx.run(step, retry=RetryPolicy(max_attempts=1))
        except TerminalError as error:
            return repr(error)
        return "?"

    assert (await outcome(handler)).output == "\"TerminalError('again', code=500)\""


class ForeignError(Exception):
    """An error of another library, with a `code` that is no status."""

    code = "NOT_FOUND"


async def test_the_code_of_a_foreign_error_is_no_status() -> None:
    async def step() -> None:
        raise ForeignError("foreign")

    async def handler(ctx: Any) -> None:
        await ctx.run(step, retry=RetryPolicy(max_attempts=1))

    assert (await outcome(handler)).output == Failure(500, "foreign")


async def test_a_terminal_error_is_not_tried_again() -> None:
    tries = 0

    async def step() -> None:
        nonlocal tries
        tries += 1
        raise TerminalError("no", code=409, metadata={"a": "b"})

    async def handler(ctx: Any) -> str:
        try:
            await ctx.run(step)
        except TerminalError as error:
            return repr(error)
        return "?"

    peer = await outcome(handler)
    assert (tries, peer.output) == (1, "\"TerminalError('no', code=409, metadata={'a': 'b'})\"")


async def test_a_group_of_terminal_errors_is_terminal() -> None:
    async def step() -> None:
        raise ExceptionGroup("both", [TerminalError("one", code=409), TerminalError("two")])

    async def handler(ctx: Any) -> None:
        await ctx.run(step)

    result = (await outcome(handler)).output
    assert (result.code, result.message) == (409, "one")


@pytest.mark.parametrize(
    ("error", "behavior", "code"),
    [
        (PauseError("pause"), ErrorBehavior.PAUSE, 500),
        (FailError("fail", code=418), ErrorBehavior.FAIL, 418),
        (UsageError("usage"), ErrorBehavior.PAUSE, 500),
        (SerdeError("serde"), ErrorBehavior.RETRY, 500),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("where", ["step", "handler"])
async def test_errors_that_ask_for_more_than_a_retry(
    error: Exception, behavior: ErrorBehavior, code: int, where: str
) -> None:
    async def step() -> None:
        raise error

    async def handler(ctx: Any) -> None:
        if where == "handler":
            raise error
        await ctx.run(step)

    for version in (V6, V7):
        peer = Peer()
        async with attempt(handler, peer, version=version) as running:
            assert await running.ended() is End.FAILED
        told = error_of(peer)
        expected = behavior if version is V7 else ErrorBehavior.RETRY
        assert (told.message, told.behavior, told.code) == (str(error), expected, code)


async def test_a_try_that_takes_too_long_counts_as_failed() -> None:
    clock = StandingClock()
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            await anyio.sleep_forever()
        return tries

    async def handler(ctx: Any) -> int:
        return await ctx.run(step, timeout=timedelta(milliseconds=1))  # type: ignore[no-any-return]  # the context is any

    peer = await outcome(handler, clock=clock)
    assert (peer.output, clock.slept) == ("3", [0.05, 0.1])


async def test_other_steps_are_not_interrupted_by_the_long_pause_of_one() -> None:
    clock = StandingClock()
    tries = 0

    async def flaky() -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RetryableError("later", retry_after=60)
        return tries

    async def slow() -> int:
        await ticks(10)
        return 1

    async def handler(ctx: Any) -> list[int]:
        return list(await ctx.gather(ctx.run(slow), ctx.run(flaky)))

    peer = await outcome(handler, clock=clock)
    assert (peer.output, clock.slept) == ("[1,2]", [60])


# --- results -------------------------------------------------------------------------------------------------------


async def test_a_result_that_cannot_be_written_fails_the_attempt_and_says_whose_it_is() -> None:
    async def step() -> Any:
        return object()

    async def handler(ctx: Any) -> None:
        await ctx.run(step)

    error = error_of(await outcome(handler))
    assert "the result of step 'step'" in error.message
    assert (error.related_command_index, error.related_command_name) == (1, "step")


async def test_recorded_bytes_that_are_no_such_value_fail_the_attempt() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.run(quick)

    peer = await outcome(handler, RunCommand(1, "quick"), RunCompletion(1, Value(b'"text"')))
    assert "the result of step 'quick'" in error_of(peer).message


async def test_a_result_that_no_runtime_would_store_is_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.handlers.steps.MAX_PAYLOAD", 10)

    async def step() -> str:
        return "x" * 20

    async def handler(ctx: Any) -> None:
        await ctx.run(step)

    result = (await outcome(handler)).output
    assert (result.code, "22 bytes long" in result.message) == (413, True)


async def test_a_step_without_a_result_gives_none() -> None:
    async def step() -> None:
        return

    async def handler(ctx: Any) -> str:
        return repr(await ctx.run(step))

    assert (await outcome(handler)).output == '"None"'


# --- what nobody took ----------------------------------------------------------------------------------------------


async def test_a_forgotten_step_is_executed_before_the_handler_ends() -> None:
    done: list[str] = []

    async def step() -> None:
        await ticks(3)
        done.append("done")

    async def handler(ctx: Any) -> str:
        ctx.run(step)
        return "ended"

    peer = await outcome(handler)
    assert (done, peer.output) == (["done"], '"ended"')
    assert peer.kinds[-2:] == ["OutputCommand", "EndMessage"]


async def test_the_failure_of_a_forgotten_step_is_the_handlers() -> None:
    async def step() -> None:
        raise TerminalError("unseen", code=418)

    async def handler(ctx: Any) -> None:
        ctx.run(step)

    assert (await outcome(handler)).output == Failure(418, "unseen")


async def test_the_failures_of_several_forgotten_steps_are_told_together() -> None:
    async def step(code: int) -> None:
        raise TerminalError("unseen", code=code)

    async def handler(ctx: Any) -> None:
        ctx.run(step, 418)
        ctx.run(step, 419)

    result = (await outcome(handler)).output
    assert (result.code, [(pair.key, pair.value) for pair in result.metadata]) == (
        418,
        [("also.1", "[419] unseen")],
    )


async def test_a_failure_that_was_looked_at_in_a_combination_is_not_told_again() -> None:
    async def step() -> None:
        raise TerminalError("seen")

    async def handler(ctx: Any) -> str:
        await ctx.settle(ctx.run(step))
        return "ended"

    assert (await outcome(handler)).output == '"ended"'


async def test_a_forgotten_call_does_not_hold_the_handler() -> None:
    async def handler(ctx: Any) -> str:
        ctx.generic_call("S", "h", b"")
        return "ended"

    peer = await outcome(handler)
    assert peer.kinds == ["CallCommand", "OutputCommand", "EndMessage"]


async def test_a_forgotten_cancel_of_a_send_is_carried_out() -> None:
    async def handler(ctx: Any) -> str:
        ctx.generic_send("S", "h", b"").cancel()
        return "ended"

    peer = Peer()
    async with attempt(handler, peer):
        await ticks()
        assert peer.kinds == ["OneWayCallCommand"]
        peer.tells(CallInvocationIdCompletion(1, InvocationId("inv_1x")))
    assert peer.kinds == ["OneWayCallCommand", "SendSignalCommand", "OutputCommand", "EndMessage"]


@pytest.mark.parametrize("how", ["first", "select"])
async def test_a_step_that_lost_a_race_is_stopped_when_the_handler_ends(how: str) -> None:
    stopped = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async def handler(ctx: Any) -> str:
        from perdure import Case  # noqa: PLC0415 - a name of the test only

        step, sleep = ctx.run(slow), ctx.sleep(1)
        await (ctx.first(step, sleep) if how == "first" else ctx.select(Case(step), Case(sleep)))
        assert not stopped.is_set()
        return "ended"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
    assert (stopped.is_set(), peer.output) == (True, '"ended"')
    assert ProposeRunCompletionMessage(1, RUN_CANCELLED) in peer.sent


async def test_a_step_that_lost_and_never_started_never_runs() -> None:
    runs: list[str] = []

    async def step() -> None:
        runs.append("ran")

    async def handler(ctx: Any) -> str:
        sleep = ctx.sleep(1)
        await sleep
        await ctx.first(sleep, ctx.run(step))
        return "ended"

    peer = await outcome(handler, SleepCommand(0, 1), SleepCompletion(1, VOID))
    assert (runs, peer.output) == ([], '"ended"')


async def test_the_end_of_a_stopped_step_is_waited_for() -> None:
    cleaned = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await ticks(5)
            cleaned.set()

    async def handler(ctx: Any) -> None:
        await ctx.first(ctx.run(slow), ctx.sleep(1))

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
        await peer.hears(OutputCommand)
        assert cleaned.is_set()


async def test_what_is_left_in_a_set_that_was_being_read_is_stopped_at_the_end() -> None:
    stopped = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async def handler(ctx: Any) -> None:
        async for _ in ctx.unordered([ctx.run(slow), ctx.sleep(1)]):
            break

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
    assert stopped.is_set()


async def test_open_steps_are_stopped_when_the_handler_fails() -> None:
    stopped = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async def handler(ctx: Any) -> None:
        ctx.run(slow)
        await ctx.sleep(1)
        raise TerminalError("no", code=418)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
    assert (stopped.is_set(), peer.output) == (True, Failure(418, "no"))


async def test_results_that_come_while_the_handler_ends_are_waited_for_in_journal_order() -> None:
    async def handler(ctx: Any) -> str:
        ctx.run(quick)
        ctx.run(quick)
        return "ended"

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(ProposeRunCompletionMessage)
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(2, Value(b"1")))
        await ticks()
        assert running.end is None
        peer.tells(RunCompletion(1, Value(b"1")))
    assert peer.output == '"ended"'


async def test_an_end_that_is_waiting_for_a_step_suspends_when_the_input_is_closed() -> None:
    async def handler(ctx: Any) -> str:
        ctx.run(quick)
        return "ended"

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == ["RunCommand", "ProposeRunCompletionMessage", "SuspensionMessage"]


async def test_a_cancelled_step_of_an_earlier_attempt_is_no_unseen_failure() -> None:
    async def handler(ctx: Any) -> str:
        ctx.run(quick)
        return "ended"

    peer = await outcome(handler, RunCommand(1, "quick"), RunCompletion(1, RUN_CANCELLED))
    assert peer.output == '"ended"'


async def test_many_steps_that_were_taken_are_not_remembered() -> None:
    async def handler(ctx: Any) -> int:
        for _ in range(300):
            await ctx.gather(ctx.run(quick), ctx.run(quick))
        return len(ctx.driver.handler_block.runs)

    entries: list[Message] = []
    for id in range(1, 601, 2):
        entries += [RunCommand(id, "quick"), RunCommand(id + 1, "quick")]
        entries += [RunCompletion(id, Value(b"1")), RunCompletion(id + 1, Value(b"1"))]
    assert int((await outcome(handler, *entries)).output) < 200


async def test_many_calls_that_were_answered_are_not_remembered() -> None:
    async def handler(ctx: Any) -> int:
        for _ in range(600):
            await ctx.generic_call("S", "h", b"")
        return len(ctx.driver.handler_block.calls)

    entries: list[Message] = []
    for id in range(1, 1201, 2):
        entries += [
            CallCommand("S", "h", b"", invocation_id_notification_idx=id, result_completion_id=id + 1),
            CallInvocationIdCompletion(id, InvocationId("inv_1x")),
            CallCompletion(id + 1, Value(b"")),
        ]
    assert int((await outcome(handler, *entries)).output) < 200


async def test_a_handler_can_go_on_after_a_step_failed() -> None:
    async def step() -> None:
        raise TerminalError("no")

    async def handler(ctx: Any) -> None:
        try:
            await ctx.run(step)
        except TerminalError:
            ctx.set("undone", 1)

    assert SetStateCommand(b"undone", Value(b"1")) in (await outcome(handler)).sent


async def test_the_version_of_the_protocol_is_no_matter_for_a_step() -> None:
    async def handler(ctx: Any) -> int:
        return await ctx.run(quick) + await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    for version in (V5, V6, V7):
        peer = Peer()
        async with anyio.create_task_group() as tasks:
            async with attempt(handler, peer, version=version) as running:
                tasks.start_soon(answering, peer)
                await running.ended()
            tasks.cancel_scope.cancel()
        assert peer.output == "2"
