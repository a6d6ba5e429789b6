"""What becomes of an invocation, for every way in which a handler can end."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from perdure import (
    FailError,
    InvocationCancelled,
    PauseError,
    RetryableError,
    SerdeError,
    TerminalError,
    UnsupportedFeatureError,
    UsageError,
)
from perdure.durable.driver import End
from perdure.handlers.attempt import current_attempt
from perdure.wire.messages import (
    EndMessage,
    ErrorBehavior,
    ErrorMessage,
    Failure,
    FailureMetadata,
    Header,
    InputCommand,
    OutputCommand,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SleepCommand,
    SleepCompletion,
    StartMessage,
    Value,
    Void,
)
from tests.durable.attempts import CANCEL, V5, V6, V7, Peer, attempt
from tests.machine.peers import ID

pytestmark = pytest.mark.anyio

VOID = Void()


def requested(payload: bytes | None, *headers: Header) -> Peer:
    """A request with this payload."""
    peer = Peer()
    peer._inbox.clear()
    value = None if payload is None else Value(payload)
    peer._inbox.extend([StartMessage(ID, "inv_1", 1), InputCommand(headers, value)])
    return peer


async def run(handler: Any, peer: Peer, version: Any = V6) -> End | None:
    async with attempt(handler, peer, version=version) as running:
        return await running.ended()


# --- input and output ----------------------------------------------------------------------------------------------


async def test_the_input_is_decoded_by_its_annotation() -> None:
    async def handler(ctx: Any, arg: dict[str, int]) -> int:
        return arg["n"] + 1

    peer = requested(b'{"n":1}')
    assert await run(handler, peer) is End.ENDED
    assert peer.sent == [OutputCommand(Value(b"2")), EndMessage()]


@pytest.mark.parametrize("payload", [b"not json", b'"text"', b'{"n":"x"}', b""])
async def test_an_input_that_cannot_be_decoded_ends_the_invocation_with_400(payload: bytes) -> None:
    async def handler(ctx: Any, arg: dict[str, int]) -> int:
        pytest.fail("called with a bad input")

    peer = requested(payload)
    assert await run(handler, peer) is End.ENDED
    assert peer.output.code == 400
    assert "the input of Tested/handler" in peer.output.message


async def test_a_request_without_a_payload_is_an_empty_one() -> None:
    async def handler(ctx: Any, arg: bytes) -> bytes:
        return arg + b"!"

    peer = requested(None)
    await run(handler, peer)
    assert peer.output == "!"


async def test_a_handler_without_input_ignores_a_payload() -> None:
    async def handler(ctx: Any) -> None:
        return

    peer = requested(b"whatever")
    await run(handler, peer)
    assert peer.sent == [OutputCommand(Value(b"")), EndMessage()]


async def test_an_output_that_cannot_be_written_fails_the_attempt() -> None:
    async def handler(ctx: Any) -> int:
        return object()  # type: ignore[return-value]  # the mistake under test

    peer = Peer()
    assert await run(handler, peer) is End.FAILED
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert "the output of Tested/handler" in error.message
    assert error.code == 500


async def test_an_output_that_no_runtime_would_store_is_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.handlers.steps.MAX_PAYLOAD", 10)

    async def handler(ctx: Any) -> str:
        return "x" * 20

    peer = Peer()
    assert await run(handler, peer) is End.ENDED
    assert (peer.output.code, "store it elsewhere" in peer.output.message) == (413, True)


async def test_headers_of_the_request_are_found_by_lower_case_names() -> None:
    async def handler(ctx: Any) -> dict[str, str]:
        return dict(ctx.headers)

    peer = requested(b"", Header("X-Trace", "1"), Header("b", "2"))
    await run(handler, peer)
    assert peer.output == '{"x-trace":"1","b":"2"}'


# --- how it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TerminalError("no"), Failure(500, "no")),
        (
            TerminalError("no", code=409, metadata={"a": "b"}),
            Failure(409, "no", (FailureMetadata("a", "b"),)),
        ),
        (ExceptionGroup("g", [TerminalError("only", code=410)]), Failure(410, "only")),
        (
            ExceptionGroup("g", [ExceptionGroup("h", [TerminalError("one")]), TerminalError("two", code=409)]),
            Failure(500, "one", (FailureMetadata("also.1", "[409] two"),)),
        ),
        (InvocationCancelled(), Failure(409, "cancelled")),
        (
            BaseExceptionGroup("g", [TerminalError("one"), InvocationCancelled()]),
            Failure(409, "cancelled", (FailureMetadata("also.1", "[500] one"),)),
        ),
    ],
    ids=["terminal", "with metadata", "group of one", "nested group", "cancelled", "group with a cancellation"],
)
async def test_what_is_terminal_ends_the_invocation(error: BaseException, failure: Failure) -> None:
    async def handler(ctx: Any) -> None:
        raise error

    peer = Peer()
    assert await run(handler, peer) is End.ENDED
    assert peer.sent == [OutputCommand(failure), EndMessage()]


@pytest.mark.parametrize(
    ("error", "message", "code", "delay", "behavior"),
    [
        (ValueError("bad"), "ValueError: bad", 500, None, ErrorBehavior.RETRY),
        (ValueError(), "ValueError", 500, None, ErrorBehavior.RETRY),
        (RetryableError("soon", retry_after=1.5), "soon", 500, 1500, ErrorBehavior.RETRY),
        (RetryableError("soon"), "soon", 500, None, ErrorBehavior.RETRY),
        (PauseError("wait"), "wait", 500, None, ErrorBehavior.PAUSE),
        (FailError("over", code=418), "over", 418, None, ErrorBehavior.FAIL),
        (UsageError("wrong"), "wrong", 500, None, ErrorBehavior.PAUSE),
        (SerdeError("odd"), "odd", 500, None, ErrorBehavior.RETRY),
        (UnsupportedFeatureError("old"), "old", 573, None, ErrorBehavior.RETRY),
        (
            ExceptionGroup("g", [TerminalError("no"), ValueError("bad")]),
            "ExceptionGroup: g (2 sub-exceptions)",
            500,
            None,
            ErrorBehavior.RETRY,
        ),
        (ExceptionGroup("g", [ValueError("bad"), UsageError("wrong")]), "wrong", 500, None, ErrorBehavior.PAUSE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_anything_else_fails_the_attempt(
    error: Exception, message: str, code: int, delay: int | None, behavior: ErrorBehavior
) -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        raise error

    for version in (V6, V7):
        peer = Peer()
        assert await run(handler, peer, version) is End.FAILED
        command, told = peer.sent
        assert command == SetStateCommand(b"a", Value(b"1"))
        assert isinstance(told, ErrorMessage)
        expected = behavior if version is V7 else ErrorBehavior.RETRY
        assert (told.message, told.code, told.next_retry_delay, told.behavior) == (message, code, delay, expected)
        assert "Traceback" in told.stacktrace


async def test_a_failed_attempt_is_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: Any) -> None:
        raise ValueError("bad")

    with caplog.at_level(logging.WARNING, "perdure.attempt"):
        await run(handler, Peer())
    (record,) = caplog.records
    assert record.message == "attempt of Tested/handler failed: bad"
    assert record.exc_info is not None


async def test_text_that_cannot_be_written_is_told_as_well_as_can_be() -> None:
    async def handler(ctx: Any) -> None:
        raise TerminalError("file \udcff")

    peer = Peer()
    await run(handler, peer)
    assert peer.output.message == "file \\udcff"


async def test_an_error_whose_text_cannot_be_written_is_told_as_well_as_can_be() -> None:
    async def handler(ctx: Any) -> None:
        raise ValueError("file \udcff")

    peer = Peer()
    await run(handler, peer)
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert error.message == "ValueError: file \\udcff"
    error.stacktrace.encode()


@pytest.mark.parametrize("code", ["409", -1, 2**32, None, 4.09])
async def test_a_code_that_is_no_status_is_refused_where_it_is_given(code: Any) -> None:
    with pytest.raises(UsageError, match="code"):
        TerminalError("no", code=code)


async def test_a_result_of_an_earlier_attempt_is_repeated_and_ended() -> None:
    async def handler(ctx: Any) -> int:
        return 1

    peer = Peer(OutputCommand(Value(b"1")))
    assert await run(handler, peer) is End.ENDED
    assert peer.sent == [EndMessage()]


async def test_another_result_than_recorded_is_a_mismatch() -> None:
    async def handler(ctx: Any) -> int:
        return 2

    peer = Peer(OutputCommand(Value(b"1")))
    assert await run(handler, peer) is End.FAILED
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert (error.code, "return of the handler" in error.message) == (570, True)


async def test_version_5_loses_metadata_and_repeats_itself() -> None:
    async def handler(ctx: Any) -> None:
        raise TerminalError("no", metadata={"a": "b"})

    peer = Peer()
    await run(handler, peer, V5)
    assert peer.output == Failure(500, "no")
    again = Peer(OutputCommand(Failure(500, "no")))
    assert await run(handler, again, V5) is End.ENDED


async def test_a_step_that_failed_for_good_is_the_handlers_failure() -> None:
    async def quick() -> int:
        return 1

    async def handler(ctx: Any) -> int:
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    peer = Peer(RunCommand(1, "quick"), RunCompletion(1, Failure(410, "gone")))
    await run(handler, peer)
    assert peer.output == Failure(410, "gone")


async def test_a_cancellation_that_nobody_handles_ends_the_invocation_with_409() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1), CANCEL)
    assert await run(handler, peer) is End.ENDED
    assert peer.output == Failure(409, "cancelled")


# --- the attempt, for observers ------------------------------------------------------------------------------------


async def test_an_attempt_tells_who_runs_and_whether_it_replays() -> None:
    seen: list[Any] = []

    def look() -> None:
        now = current_attempt.get()
        assert now is not None
        seen.append((now.service, now.handler, now.invocation_id, now.key, now.number, now.replaying, now.unwinding))

    async def handler(ctx: Any) -> None:
        look()
        await ctx.sleep(1)
        look()

    peer = Peer(SleepCommand(0, 1), SleepCompletion(1, VOID), key="k", retries=2)
    await run(handler, peer)
    assert seen == [
        ("Tested", "handler", "inv_1", "k", 3, True, False),
        ("Tested", "handler", "inv_1", "k", 3, False, False),
    ]


async def test_a_step_belongs_to_its_attempt() -> None:
    seen: list[Any] = []

    async def step() -> None:
        now = current_attempt.get()
        seen.append(None if now is None else now.handler)

    async def handler(ctx: Any) -> None:
        await ctx.run(step)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"")))
    assert seen == ["handler"]


async def test_an_attempt_that_unwinds_says_so() -> None:
    seen: list[bool] = []

    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            now = current_attempt.get()
            assert now is not None
            seen.append(now.unwinding)

    peer = Peer()
    peer.closes()
    assert await run(handler, peer) is End.SUSPENDED
    assert seen == [True]


async def test_a_service_has_no_key() -> None:
    seen: list[Any] = []

    async def handler(ctx: Any) -> None:
        now = current_attempt.get()
        assert now is not None
        seen.append(now.key)

    await run(handler, Peer())
    assert (seen, current_attempt.get()) == ([None], None)
