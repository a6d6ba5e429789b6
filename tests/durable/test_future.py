"""Futures: awaited again and again, mapped, raced, gathered; one object whoever asks."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Case, DurableFuture, Failed, SerdeError, Succeeded, TerminalError, UsageError
from perdure.durable.driver import End
from perdure.wire.messages import (
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    ErrorMessage,
    Failure,
    InvocationId,
    Message,
    RunCommand,
    RunCompletion,
    SignalNotification,
    SleepCommand,
    SleepCompletion,
    Value,
    Void,
)
from tests.durable.attempts import Peer, attempt

pytestmark = pytest.mark.anyio

VOID = Void()


async def quick() -> int:
    return 1


def recorded(*results: str | int, order: list[int] | None = None) -> list[Message]:
    """A journal of steps, all issued first; a number is a failure with that code."""
    commands: list[Message] = [RunCommand(id, "quick") for id in range(1, len(results) + 1)]
    completions: list[Message] = [
        RunCompletion(id, Failure(result, "failed") if isinstance(result, int) else Value(result.encode()))
        for id, result in enumerate(results, 1)
    ]
    if order is not None:
        completions = [completions[index] for index in order]
    return [*commands, *completions]


async def result_of(handler: Any, *entries: Message) -> Any:
    peer = Peer(*entries)
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.ENDED
    return peer.output


# --- one future ----------------------------------------------------------------------------------------------------


async def test_a_future_gives_the_same_object_however_often_it_is_awaited() -> None:
    async def handler(ctx: Any) -> bool:
        step = ctx.run(quick, returns=list)
        first = await step
        return first is await step and first is (await ctx.gather(step))[0]

    assert await result_of(handler, *recorded("[1]")) == "true"


async def test_a_failure_is_raised_each_time_it_is_awaited_with_a_fresh_traceback() -> None:
    async def handler(ctx: Any) -> list[Any]:
        step = ctx.run(quick)
        depths = []
        for _ in range(3):
            try:
                await step
            except TerminalError as error:
                depth, traceback = 0, error.__traceback__
                while traceback is not None:
                    depth, traceback = depth + 1, traceback.tb_next
                depths.append(depth)
        return [len(depths), depths[1] == depths[2]]

    assert await result_of(handler, *recorded(418)) == "[3,true]"


async def test_a_call_knows_whom_it_called() -> None:
    async def handler(ctx: Any) -> list[Any]:
        call = ctx.generic_call("S", "h", b"")
        return [await call.invocation_id, (await call).decode()]

    entries: list[Message] = [
        CallCommand("S", "h", b"", invocation_id_notification_idx=1, result_completion_id=2),
        CallInvocationIdCompletion(1, InvocationId("inv_1x")),
        CallCompletion(2, Value(b"out")),
    ]
    assert await result_of(handler, *entries) == '["inv_1x","out"]'


async def test_a_future_names_what_it_waits_for() -> None:
    async def handler(ctx: Any) -> list[str]:
        step = ctx.run(quick, name="charge")
        before = repr(step)
        await step
        return [before, repr(step)]

    entries = [RunCommand(1, "charge"), RunCompletion(1, Value(b"1"))]
    assert await result_of(handler, *entries) == '["<RunFuture <charge 1> pending>","<RunFuture <charge 1> done>"]'


async def test_a_bare_future_has_nothing_to_read() -> None:
    async def handler(ctx: Any) -> None:
        await DurableFuture(ctx.driver, ctx.sleep(1)._node)

    peer = Peer(SleepCommand(0, 1), SleepCompletion(1, VOID))
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    assert "NotImplementedError" in peer.sent[-1].message  # type: ignore[attr-defined]  # an error message


# --- map -----------------------------------------------------------------------------------------------------------


async def test_a_mapped_future_applies_its_function_once() -> None:
    async def handler(ctx: Any) -> list[Any]:
        calls: list[int] = []

        def double(value: int) -> int:
            calls.append(value)
            return 2 * value

        mapped = ctx.run(quick).map(double)
        return [await mapped, await mapped, calls, mapped.done]

    assert await result_of(handler, *recorded("3")) == "[6,6,[3],true]"


async def test_mapped_futures_can_be_mapped_and_combined() -> None:
    async def handler(ctx: Any) -> list[Any]:
        step = ctx.run(quick)
        mapped = step.map(str).map(lambda text: text * 2)
        return [*(await ctx.gather(step, mapped)), await ctx.first(mapped)]

    assert await result_of(handler, *recorded("3")) == '[3,"33","33"]'


async def test_an_error_of_the_function_is_raised_where_the_mapped_future_is_awaited() -> None:
    async def handler(ctx: Any) -> str:
        mapped = ctx.run(quick).map(lambda _: 1 // 0)
        for _ in range(2):
            try:
                await mapped
            except ZeroDivisionError:
                continue
        return "twice"

    assert await result_of(handler, *recorded("3")) == '"twice"'


async def test_the_failure_of_the_mapped_passes_the_function() -> None:
    async def handler(ctx: Any) -> str:
        try:
            await ctx.run(quick).map(lambda _: pytest.fail("called for a failure"))
        except TerminalError as error:
            return f"{error.code}"
        return "?"

    assert await result_of(handler, *recorded(418)) == '"418"'


async def test_a_mapped_step_that_was_awaited_is_no_unseen_failure() -> None:
    async def handler(ctx: Any) -> str:
        try:
            await ctx.run(quick).map(str)
        except TerminalError:
            return "seen"
        return "?"

    assert await result_of(handler, *recorded(418)) == '"seen"'


# --- gather --------------------------------------------------------------------------------------------------------


async def test_gather_gives_all_results_in_the_order_given() -> None:
    async def handler(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.run(quick) for _ in range(3)))

    assert await result_of(handler, *recorded("1", "2", "3", order=[2, 0, 1])) == "[1,2,3]"


async def test_gather_of_nothing_is_done() -> None:
    async def handler(ctx: Any) -> Any:
        return [*await ctx.gather(), *await ctx.settle()]

    assert await result_of(handler) == "[]"


async def test_gather_raises_the_first_failure_of_the_journal_at_once() -> None:
    async def handler(ctx: Any) -> Any:
        steps = [ctx.run(quick) for _ in range(3)]
        try:
            await ctx.gather(*steps)
        except TerminalError as error:
            return [error.code, [step.done for step in steps]]
        return "?"

    assert await result_of(handler, *recorded(418, 419, "1", order=[1, 0, 2])) == "[419,[false,true,false]]"


async def test_gather_takes_a_future_twice() -> None:
    async def handler(ctx: Any) -> Any:
        step = ctx.run(quick)
        return await ctx.gather(step, step)

    assert await result_of(handler, *recorded("1")) == "[1,1]"


# --- first and select ----------------------------------------------------------------------------------------------


class One(Case[int]):
    pass


class Two(Case[int]):
    pass


@pytest.mark.parametrize(("order", "expected"), [([0, 1], '["One",1]'), ([1, 0], '["Two",2]')])
async def test_select_gives_the_case_that_stands_first_in_the_journal(order: list[int], expected: str) -> None:
    async def handler(ctx: Any) -> Any:
        one, two = ctx.run(quick), ctx.run(quick)
        match await ctx.select(One(one), Two(two)):
            case One(value):
                return ["One", value]
            case Two(value):
                return ["Two", value]
        return "?"

    assert await result_of(handler, *recorded("1", "2", order=order)) == expected


async def test_where_two_are_done_the_first_in_order_wins() -> None:
    async def handler(ctx: Any) -> Any:
        one, two = ctx.run(quick), ctx.run(quick)
        await ctx.gather(one, two)
        return [(await ctx.first(two, one)), type(await ctx.select(Two(two), One(one))).__name__]

    assert await result_of(handler, *recorded("1", "2")) == '[2,"Two"]'


async def test_one_result_that_decides_two_cases_decides_for_the_first() -> None:
    async def handler(ctx: Any) -> Any:
        step = ctx.run(quick)
        cases = One(ctx.gather(step).map(lambda results: results[0])), Two(step)
        return type(await ctx.select(*cases)).__name__

    assert await result_of(handler, *recorded("1")) == '"One"'


@pytest.mark.parametrize("how", ["first", "select"])
async def test_the_failure_of_whichever_is_first_is_raised(how: str) -> None:
    async def handler(ctx: Any) -> Any:
        step, sleep = ctx.run(quick), ctx.sleep(1)
        try:
            await (ctx.first(step, sleep) if how == "first" else ctx.select(One(step), Two(sleep)))
        except TerminalError as error:
            return error.code
        return "?"

    entries = [RunCommand(1, "quick"), SleepCommand(0, 2), RunCompletion(1, Failure(418, "no"))]
    assert await result_of(handler, *entries) == "418"


async def test_a_case_may_be_given_to_several_selects() -> None:
    async def handler(ctx: Any) -> Any:
        one, two = One(ctx.run(quick)), Two(ctx.run(quick))
        first = await ctx.select(one, two)
        again = await ctx.select(two, one)
        return [type(first).__name__, first.value, type(again).__name__, again.value, first is one]

    assert await result_of(handler, *recorded("1", "2")) == '["One",1,"One",1,false]'


async def test_a_case_has_no_value_before_it_won() -> None:
    async def handler(ctx: Any) -> Any:
        one, two = One(ctx.run(quick)), Two(ctx.sleep(1))
        won = await ctx.select(one, two)
        with pytest.raises(UsageError, match="Two has no value before"):
            _ = two.value
        with pytest.raises(UsageError, match="One has no value before"):
            _ = one.value
        return [repr(won), repr(two)]

    entries = [RunCommand(1, "quick"), SleepCommand(0, 2), RunCompletion(1, Value(b"1"))]
    assert await result_of(handler, *entries) == '["One(1)","<Two pending>"]'


@pytest.mark.parametrize("how", ["first", "first_success", "select"])
async def test_a_race_of_nothing_is_refused(how: str) -> None:
    async def handler(ctx: Any) -> None:
        with pytest.raises(UsageError, match=f"{how} of nothing would wait for ever"):
            getattr(ctx, how)()

    await result_of(handler)


async def test_combinations_nest() -> None:
    async def handler(ctx: Any) -> Any:
        a, b, c = (ctx.run(quick) for _ in range(3))
        return await ctx.gather(
            ctx.first(a, b), ctx.settle(c), ctx.select(One(ctx.gather(a, b))).map(lambda won: won.value)
        )

    expected = '[2,[{"value":3}],[1,2]]'
    assert await result_of(handler, *recorded("1", "2", "3", order=[1, 2, 0])) == expected


# --- first_success and settle --------------------------------------------------------------------------------------


async def test_first_success_waits_past_failures() -> None:
    async def handler(ctx: Any) -> Any:
        return await ctx.first_success(*(ctx.run(quick) for _ in range(3)))

    assert await result_of(handler, *recorded(418, "2", "3", order=[0, 2, 1])) == "3"


async def test_when_all_fail_first_success_raises_them_all_in_the_order_given() -> None:
    async def handler(ctx: Any) -> Any:
        try:
            await ctx.first_success(*(ctx.run(quick) for _ in range(2)))
        except ExceptionGroup as group:
            return [str(group), *(error.code for error in group.exceptions if isinstance(error, TerminalError))]
        return "?"

    assert await result_of(handler, *recorded(418, 419, order=[1, 0])) == (
        '["all 2 alternatives failed (2 sub-exceptions)",418,419]'
    )


async def test_when_all_fail_and_nobody_handles_it_the_invocation_fails_with_the_first() -> None:
    async def handler(ctx: Any) -> Any:
        await ctx.first_success(*(ctx.run(quick) for _ in range(2)))

    failure = await result_of(handler, *recorded(418, 419, order=[1, 0]))
    assert (failure.code, failure.metadata[0].key) == (418, "also.1")


async def test_settle_tells_outcomes_in_the_order_given_and_raises_nothing() -> None:
    async def handler(ctx: Any) -> Any:
        good, bad = await ctx.settle(ctx.run(quick), ctx.run(quick))
        assert good == Succeeded(1)
        assert bad == Failed(TerminalError("failed", code=418))
        return "settled"

    assert await result_of(handler, *recorded("1", 418, order=[1, 0])) == '"settled"'


async def test_settle_raises_what_is_not_terminal() -> None:
    async def handler(ctx: Any) -> Any:
        try:
            await ctx.settle(ctx.run(quick))
        except SerdeError:
            return "not a number"
        return "?"

    assert await result_of(handler, *recorded('"text"')) == '"not a number"'


async def test_a_combination_gives_the_same_object_however_often_it_is_awaited() -> None:
    async def handler(ctx: Any) -> Any:
        both = ctx.gather(ctx.run(quick), ctx.run(quick))
        return (await both) is (await both)

    assert await result_of(handler, *recorded("1", "2")) == "true"


# --- sets that are read as they complete ---------------------------------------------------------------------------


async def test_a_set_is_read_in_the_order_of_the_journal_with_the_index_of_each() -> None:
    async def handler(ctx: Any) -> Any:
        pending = ctx.unordered(ctx.run(quick) for _ in range(3))
        return [[index, value, len(pending)] async for index, value in pending]

    assert await result_of(handler, *recorded("1", "2", "3", order=[2, 0, 1])) == "[[2,3,2],[0,1,1],[1,2,0]]"


async def test_a_set_may_grow_while_it_is_read() -> None:
    async def handler(ctx: Any) -> Any:
        pending = ctx.unordered([ctx.run(quick)])
        seen = []
        async for index, value in pending:
            seen.append([index, value])
            if index < 2:
                assert pending.push(ctx.run(quick)) == index + 1
        return seen

    entries = [entry for id in (1, 2, 3) for entry in (RunCommand(id, "quick"), RunCompletion(id, Value(b"%d" % id)))]
    assert await result_of(handler, *entries) == "[[0,1],[1,2],[2,3]]"


async def test_a_failure_is_raised_by_the_iteration_which_can_go_on() -> None:
    async def handler(ctx: Any) -> Any:
        pending = ctx.unordered(ctx.run(quick) for _ in range(3))
        seen: list[Any] = []
        while len(pending):
            try:
                async for index, value in pending:
                    seen.append([index, value])
            except TerminalError as error:
                seen.append(error.code)
        return seen

    assert await result_of(handler, *recorded("1", 418, "3", order=[0, 1, 2])) == "[[0,1],418,[2,3]]"


async def test_an_empty_set_is_read_at_once() -> None:
    async def handler(ctx: Any) -> Any:
        return [index async for index, _ in ctx.unordered()]

    assert await result_of(handler) == "[]"


async def test_a_set_takes_done_mapped_and_repeated_futures() -> None:
    async def handler(ctx: Any) -> Any:
        step = ctx.run(quick)
        await step
        pending = ctx.unordered([step, step.map(str), step])
        return [[index, value] async for index, value in pending]

    assert await result_of(handler, *recorded("1")) == '[[0,1],[1,"1"],[2,1]]'


async def test_a_set_takes_awakeables_and_combinations() -> None:
    async def handler(ctx: Any) -> Any:
        pending = ctx.unordered([ctx.awakeable(int), ctx.gather(ctx.run(quick))])
        return [[index, value] async for index, value in pending]

    entries = [RunCommand(1, "quick"), SignalNotification(17, Value(b"5")), RunCompletion(1, Value(b"1"))]
    assert await result_of(handler, *entries) == "[[0,5],[1,[1]]]"


# --- what suspends -------------------------------------------------------------------------------------------------


async def test_waiting_for_a_set_suspends_on_what_was_not_read_yet() -> None:
    async def handler(ctx: Any) -> None:
        async for _ in ctx.unordered([ctx.sleep(1), ctx.sleep(2)]):
            pass

    peer = Peer(SleepCommand(0, 1), SleepCommand(0, 2), SleepCompletion(2, VOID))
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.sent[-1].waiting_completions == (1,)  # type: ignore[attr-defined]  # a suspension


async def test_bytes_that_are_no_such_value_name_the_call() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.awakeable(int)

    peer = Peer(SignalNotification(17, Value(b'"text"')))
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert "the value of an awakeable" in error.message
