"""What each operation of a context writes, and what its future gives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import Failed, Service, StateKey, Succeeded, TerminalError, UsageError, VirtualObject, Workflow
from perdure.durable.driver import End
from perdure.durable.serde import serde_for
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    AttachInvocationCommand,
    AttachInvocationCompletion,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    ClearAllStateCommand,
    ClearStateCommand,
    CompleteAwakeableCommand,
    CompletePromiseCommand,
    CompletePromiseCompletion,
    ErrorMessage,
    Failure,
    GetEagerStateCommand,
    GetEagerStateKeysCommand,
    GetInvocationOutputCommand,
    GetInvocationOutputCompletion,
    GetLazyStateCommand,
    GetPromiseCommand,
    GetPromiseCompletion,
    Header,
    IdempotentRequestTarget,
    InvocationId,
    Message,
    OneWayCallCommand,
    PeekPromiseCommand,
    PeekPromiseCompletion,
    RunCommand,
    RunCompletion,
    SendSignalCommand,
    SetStateCommand,
    SignalNotification,
    SleepCommand,
    StateKeys,
    Value,
    Void,
    WorkflowTarget,
)
from tests.durable.attempts import V5, V6, V7, Peer, StandingClock, attempt, ticks
from tests.machine.peers import ID

pytestmark = pytest.mark.anyio

VOID = Void()
X = InvocationId("inv_1x")

service = Service("Callee")
thing = VirtualObject("Thing")
flow = Workflow("Flow")


@service.handler
async def double(ctx: Any, arg: int) -> int:
    return 2 * arg


@service.handler
async def nothing(ctx: Any) -> None:
    return


@thing.handler
async def touch(ctx: Any, arg: str) -> str:
    return arg


@flow.main
async def run_flow(ctx: Any) -> int:
    return 1


async def said(do: Callable[[Any], Any], **options: Any) -> list[Message]:
    """What a handler writes that does one thing."""

    async def handler(ctx: Any) -> None:
        do(ctx)

    peer = Peer(**options.pop("start", {}))
    async with attempt(handler, peer, **options) as running:
        await ticks(3)
        peer.tells(*(CallInvocationIdCompletion(id, X) for id in (1, 2)) if options.get("ids") else ())
        await running.ended()
    return peer.sent[:-2]


async def given(do: Callable[[Any], Any], *entries: Message, **options: Any) -> Any:
    """What a handler gets that awaits one thing."""
    box: list[Any] = []

    async def handler(ctx: Any) -> None:
        try:
            box.append(await do(ctx))
        except TerminalError as error:
            box.append(error)

    peer = Peer(*entries, **options.pop("start", {}))
    async with attempt(handler, peer, **options) as running:
        assert await running.ended() is End.ENDED, peer.sent
    return box[0]


# --- one-way operations --------------------------------------------------------------------------------------------

ONE_WAY: list[tuple[str, Callable[[Any], Any], list[Message]]] = [
    ("set", lambda ctx: ctx.set("k", [1]), [SetStateCommand(b"k", Value(b"[1]"))]),
    ("set by key", lambda ctx: ctx.set(StateKey("k", int), 1), [SetStateCommand(b"k", Value(b"1"))]),
    ("set nothing", lambda ctx: ctx.set("k", None), [SetStateCommand(b"k", Value(b"null"))]),
    ("clear", lambda ctx: ctx.clear("k"), [ClearStateCommand(b"k")]),
    ("clear by key", lambda ctx: ctx.clear(StateKey("k", int)), [ClearStateCommand(b"k")]),
    ("clear all", lambda ctx: ctx.clear_all(), [ClearAllStateCommand()]),
    (
        "resolve an awakeable",
        lambda ctx: ctx.resolve_awakeable("sign_1x", {"a": 1}),
        [CompleteAwakeableCommand("sign_1x", Value(b'{"a":1}'))],
    ),
    (
        "reject an awakeable",
        lambda ctx: ctx.reject_awakeable("sign_1x", "no", code=418),
        [CompleteAwakeableCommand("sign_1x", Failure(418, "no"))],
    ),
    (
        "cancel an invocation",
        lambda ctx: ctx.invocation("inv_1x").cancel(),
        [SendSignalCommand("inv_1x", CANCEL_SIGNAL, VOID)],
    ),
    (
        "resolve a signal",
        lambda ctx: ctx.invocation("inv_1x").signal("go").resolve(1),
        [SendSignalCommand("inv_1x", "go", Value(b"1"))],
    ),
    (
        "reject a signal",
        lambda ctx: ctx.invocation("inv_1x").signal("go").reject("no", code=418),
        [SendSignalCommand("inv_1x", "go", Failure(418, "no"))],
    ),
    (
        "send",
        lambda ctx: ctx.send(double, 2),
        [OneWayCallCommand("Callee", "double", b"2", invocation_id_notification_idx=1)],
    ),
    (
        "send to an object, later",
        lambda ctx: ctx.send(touch, "a", key="k", delay=timedelta(seconds=2), idempotency_key="i", headers={"a": "b"}),
        [
            OneWayCallCommand(
                "Thing", "touch", b'"a"', 1_002_000, (Header("a", "b"),), "k", "i", invocation_id_notification_idx=1
            )
        ],
    ),
    (
        "send nothing",
        lambda ctx: ctx.send(nothing, name="n"),
        [OneWayCallCommand("Callee", "nothing", b"", invocation_id_notification_idx=1, name="n")],
    ),
    (
        "send to a name",
        lambda ctx: ctx.generic_send("S", "h", b"raw", key="k", delay=1),
        [OneWayCallCommand("S", "h", b"raw", 1_001_000, key="k", invocation_id_notification_idx=1)],
    ),
    (
        "call",
        lambda ctx: ctx.call(double, 2, headers={"a": "b"}, idempotency_key="i"),
        [CallCommand("Callee", "double", b"2", (Header("a", "b"),), "", "i", None, None, 1, 2)],
    ),
    (
        "call an object",
        lambda ctx: ctx.call(touch, "a", key="k"),
        [CallCommand("Thing", "touch", b'"a"', key="k", invocation_id_notification_idx=1, result_completion_id=2)],
    ),
    (
        "call a name",
        lambda ctx: ctx.generic_call("S", "h", b"raw", key="k", name="n"),
        [CallCommand("S", "h", b"raw", key="k", invocation_id_notification_idx=1, result_completion_id=2, name="n")],
    ),
    ("sleep", lambda ctx: ctx.sleep(1.5, name="n"), [SleepCommand(1_001_500, 1, "n")]),
    ("sleep for days", lambda ctx: ctx.sleep(1, days=1, hours=1, minutes=1), [SleepCommand(91_061_000 - 0, 1)]),
    ("get", lambda ctx: ctx.get("k"), [GetEagerStateCommand(b"k", VOID)]),
    ("state keys", lambda ctx: ctx.state_keys(), [GetEagerStateKeysCommand(StateKeys())]),
    ("promise", lambda ctx: ctx.promise("p").value(), [GetPromiseCommand("p", 1)]),
    ("peek", lambda ctx: ctx.promise("p").peek(), [PeekPromiseCommand("p", 1)]),
    ("resolve a promise", lambda ctx: ctx.promise("p", int).resolve(1), [CompletePromiseCommand("p", Value(b"1"), 1)]),
    (
        "reject a promise",
        lambda ctx: ctx.promise("p").reject("no", code=418),
        [CompletePromiseCommand("p", Failure(418, "no"), 1)],
    ),
    ("attach", lambda ctx: ctx.attach("inv_1x"), [AttachInvocationCommand(X, 1)]),
    ("output", lambda ctx: ctx.invocation("inv_1x").output(), [GetInvocationOutputCommand(X, 1)]),
    (
        "attach to a workflow",
        lambda ctx: ctx.invocation(run_flow, key="k").attach(),
        [AttachInvocationCommand(WorkflowTarget("Flow", "k"), 1)],
    ),
    (
        "output of an idempotent call",
        lambda ctx: ctx.invocation(touch, key="k", idempotency_key="i").output(),
        [GetInvocationOutputCommand(IdempotentRequestTarget("Thing", "k", "touch", "i"), 1)],
    ),
    ("awakeable", lambda ctx: ctx.awakeable(), []),
    ("signal", lambda ctx: ctx.signal("go"), []),
    ("random", lambda ctx: ctx.random.random(), []),
]


@pytest.mark.parametrize(("do", "expected"), [case[1:] for case in ONE_WAY], ids=[case[0] for case in ONE_WAY])
async def test_an_operation_writes_this_command(do: Callable[[Any], Any], expected: list[Message]) -> None:
    assert await said(do) == expected


# --- what futures give ---------------------------------------------------------------------------------------------

CALL = CallCommand("Callee", "double", b"2", invocation_id_notification_idx=1, result_completion_id=2)
GIVEN: list[tuple[str, Callable[[Any], Any], list[Message], Any]] = [
    ("call", lambda ctx: ctx.call(double, 2), [CALL, CallCompletion(2, Value(b"4"))], 4),
    (
        "failed call",
        lambda ctx: ctx.call(double, 2),
        [CALL, CallCompletion(2, Failure(418, "no"))],
        TerminalError("no", code=418),
    ),
    (
        "call without a code",
        lambda ctx: ctx.call(double, 2),
        [CALL, CallCompletion(2, Failure(0, "no"))],
        TerminalError("no", code=500),
    ),
    (
        "generic call",
        lambda ctx: ctx.generic_call("Callee", "double", b"2"),
        [CALL, CallCompletion(2, Value(b"raw"))],
        b"raw",
    ),
    (
        "id of a send",
        lambda ctx: ctx.generic_send("S", "h", b"").invocation_id,
        [OneWayCallCommand("S", "h", invocation_id_notification_idx=1), CallInvocationIdCompletion(1, X)],
        "inv_1x",
    ),
    (
        "attach",
        lambda ctx: ctx.attach("inv_1x", int),
        [AttachInvocationCommand(X, 1), AttachInvocationCompletion(1, Value(b"3"))],
        3,
    ),
    (
        "attach to a failure",
        lambda ctx: ctx.attach("inv_1x", int),
        [AttachInvocationCommand(X, 1), AttachInvocationCompletion(1, Failure(418, "no"))],
        TerminalError("no", code=418),
    ),
    (
        "output that is not there",
        lambda ctx: ctx.invocation("inv_1x", int).output(),
        [GetInvocationOutputCommand(X, 1), GetInvocationOutputCompletion(1, VOID)],
        None,
    ),
    (
        "output",
        lambda ctx: ctx.invocation("inv_1x", int).output(),
        [GetInvocationOutputCommand(X, 1), GetInvocationOutputCompletion(1, Value(b"3"))],
        Succeeded(3),
    ),
    (
        "output that failed",
        lambda ctx: ctx.invocation("inv_1x", int).output(),
        [GetInvocationOutputCommand(X, 1), GetInvocationOutputCompletion(1, Failure(418, "no"))],
        Failed(TerminalError("no", code=418)),
    ),
    (
        "output of a workflow",
        lambda ctx: ctx.invocation(run_flow, key="k").output(),
        [GetInvocationOutputCommand(WorkflowTarget("Flow", "k"), 1), GetInvocationOutputCompletion(1, Value(b"3"))],
        Succeeded(3),
    ),
    ("id of a handle", lambda ctx: ctx.invocation("inv_1x").invocation_id, [], "inv_1x"),
    (
        "promise",
        lambda ctx: ctx.promise("p", int),
        [GetPromiseCommand("p", 1), GetPromiseCompletion(1, Value(b"3"))],
        3,
    ),
    (
        "rejected promise",
        lambda ctx: ctx.promise("p", int),
        [GetPromiseCommand("p", 1), GetPromiseCompletion(1, Failure(418, "no"))],
        TerminalError("no", code=418),
    ),
    (
        "peek at nothing",
        lambda ctx: ctx.promise("p", int).peek(),
        [PeekPromiseCommand("p", 1), PeekPromiseCompletion(1, VOID)],
        None,
    ),
    (
        "peek",
        lambda ctx: ctx.promise("p", int).peek(),
        [PeekPromiseCommand("p", 1), PeekPromiseCompletion(1, Value(b"3"))],
        Succeeded(3),
    ),
    (
        "peek at a failure",
        lambda ctx: ctx.promise("p", int).peek(),
        [PeekPromiseCommand("p", 1), PeekPromiseCompletion(1, Failure(418, "no"))],
        Failed(TerminalError("no", code=418)),
    ),
    (
        "resolving a promise",
        lambda ctx: ctx.promise("p", int).resolve(3),
        [CompletePromiseCommand("p", Value(b"3"), 1), CompletePromiseCompletion(1, VOID)],
        None,
    ),
    (
        "resolving a promise twice",
        lambda ctx: ctx.promise("p", int).resolve(3),
        [CompletePromiseCommand("p", Value(b"3"), 1), CompletePromiseCompletion(1, Failure(409, "done"))],
        TerminalError("done", code=409),
    ),
    ("awakeable", lambda ctx: ctx.awakeable(int), [SignalNotification(17, Value(b"3"))], 3),
    (
        "rejected awakeable",
        lambda ctx: ctx.awakeable(int),
        [SignalNotification(17, Failure(418, "no"))],
        TerminalError("no", code=418),
    ),
    ("awakeable of nothing", lambda ctx: ctx.awakeable(), [SignalNotification(17, VOID)], None),
    ("signal", lambda ctx: ctx.signal("go", int), [SignalNotification("go", Value(b"3"))], 3),
    ("absent state", lambda ctx: ctx.get("k", int), [], None),
    ("state with a default", lambda ctx: ctx.get(StateKey("k", int, default=5)), [], 5),
    ("state keys", lambda ctx: ctx.state_keys(), [], []),
    (
        "now",
        lambda ctx: ctx.now(),
        [RunCommand(1, "now"), RunCompletion(1, Value(b'"2020-01-02T03:04:05Z"'))],
        datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
    ),
]


@pytest.mark.parametrize(("do", "entries", "expected"), [case[1:] for case in GIVEN], ids=[case[0] for case in GIVEN])
async def test_a_future_gives_this_value(do: Callable[[Any], Any], entries: list[Message], expected: Any) -> None:
    assert await given(do, *entries) == expected


# --- state ---------------------------------------------------------------------------------------------------------


async def test_stored_state_is_read_by_its_type() -> None:
    start = {"state": {b"k": b"[1,2]"}}
    assert await given(lambda ctx: ctx.get("k", tuple[int, ...]), start=start) == (1, 2)
    assert await given(lambda ctx: ctx.get("k"), start=start) == [1, 2]


async def test_every_read_of_a_default_gives_a_copy_of_its_own() -> None:
    key = StateKey("k", list[int], default=[1])

    async def handler(ctx: Any) -> list[int]:
        (await ctx.get(key)).append(2)
        return await ctx.get(key)  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer):
        pass
    assert peer.output == "[1]"


async def test_stored_state_of_another_type_says_which() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.get("k", int)

    peer = Peer(state={b"k": b'"text"'})
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    assert "state 'k'" in peer.sent[-1].message  # type: ignore[attr-defined]  # an error message


async def test_lazy_state_is_asked_for() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.get("k")

    peer = Peer(partial=True)
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.sent[0] == GetLazyStateCommand(b"k", 1)


# --- chance and time -----------------------------------------------------------------------------------------------


async def test_chance_is_the_same_in_every_attempt_and_another_for_another_seed() -> None:
    async def handler(ctx: Any) -> list[str]:
        return [str(ctx.random.random()), str(ctx.uuid4()), str(ctx.random.random())]

    outputs = []
    for seed in (1, 1, 2):
        peer = Peer(random_seed=seed)
        async with attempt(handler, peer):
            pass
        outputs.append(peer.output)
    assert outputs[0] == outputs[1] != outputs[2]


async def test_version_5_has_chance_by_the_id_of_the_invocation() -> None:
    async def handler(ctx: Any) -> float:
        return ctx.random.random()  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer, version=V5):
        pass
    from random import Random  # noqa: PLC0415 - the expected value only

    assert float(peer.output) == Random(int.from_bytes(ID, "big")).random()


async def test_a_uuid_is_of_version_4() -> None:
    seen: list[Any] = []

    async def handler(ctx: Any) -> None:
        seen.extend(ctx.uuid4() for _ in range(2))

    async with attempt(handler, Peer()):
        pass
    assert [value.version for value in seen] == [4, 4]
    assert seen[0] != seen[1]


async def test_now_is_the_time_of_the_attempt_that_first_asked() -> None:
    async def handler(ctx: Any) -> str:
        return str(await ctx.now())

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer, clock=StandingClock(0.0)) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.sent[1].result == Value(b'"1970-01-01T00:00:00Z"')  # type: ignore[attr-defined]  # a proposal


# --- before an id is known -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "command"),
    [
        (lambda handle: handle.cancel(), SendSignalCommand("inv_1x", CANCEL_SIGNAL, VOID)),
        (lambda handle: handle.signal("go").resolve(1), SendSignalCommand("inv_1x", "go", Value(b"1"))),
        (lambda handle: handle.signal("go").reject("no"), SendSignalCommand("inv_1x", "go", Failure(500, "no"))),
    ],
    ids=["cancel", "resolve", "reject"],
)
async def test_what_is_done_to_an_unknown_invocation_is_written_when_it_is_known(
    do: Callable[[Any], Any], command: Message
) -> None:
    async def handler(ctx: Any) -> None:
        do(ctx.generic_send("S", "h", b""))
        ctx.set("before", 1)

    peer = Peer()
    async with attempt(handler, peer):
        await ticks()
        assert peer.kinds == ["OneWayCallCommand", "SetStateCommand"]
        peer.tells(CallInvocationIdCompletion(1, X))
    assert peer.sent[2] == command
    assert peer.kinds[3:] == ["OutputCommand", "EndMessage"]


async def test_what_is_done_to_a_known_invocation_is_written_at_once() -> None:
    async def handler(ctx: Any) -> None:
        handle = ctx.generic_send("S", "h", b"")
        await handle.invocation_id
        handle.cancel()
        ctx.set("after", 1)

    peer = Peer(OneWayCallCommand("S", "h", invocation_id_notification_idx=1), CallInvocationIdCompletion(1, X))
    async with attempt(handler, peer):
        pass
    assert peer.kinds == ["SendSignalCommand", "SetStateCommand", "OutputCommand", "EndMessage"]


@pytest.mark.parametrize("how", ["attach", "output"])
async def test_the_result_of_an_unknown_invocation_is_asked_for_when_it_is_known(how: str) -> None:
    async def handler(ctx: Any) -> Any:
        result = await getattr(ctx.send(double, 2), how)()
        return result if how == "attach" else result.value

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(OneWayCallCommand)
        peer.tells(CallInvocationIdCompletion(1, X))
        if how == "attach":
            await peer.hears(AttachInvocationCommand)
            peer.tells(AttachInvocationCompletion(2, Value(b"4")))
        else:
            await peer.hears(GetInvocationOutputCommand)
            peer.tells(GetInvocationOutputCompletion(2, Value(b"4")))
    assert peer.output == "4"


async def test_several_things_done_to_an_unknown_invocation_are_written_in_their_order() -> None:
    async def handler(ctx: Any) -> None:
        handle = ctx.generic_send("S", "h", b"")
        handle.signal("a").resolve(1)
        handle.signal("b").resolve(2)
        handle.cancel()
        await handle.attach()

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(OneWayCallCommand)
        peer.tells(CallInvocationIdCompletion(1, X))
        await peer.hears(AttachInvocationCommand)
        peer.tells(AttachInvocationCompletion(2, Value(b"")))
    assert [message.signal for message in peer.sent if isinstance(message, SendSignalCommand)] == ["a", "b", 1]


# --- refused -------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("no state name", lambda ctx: ctx.get(None), "a key of the state is a StateKey or a name"),
    ("state name of another type", lambda ctx: ctx.set(1, 1), "a key of the state is a StateKey or a name"),
    ("name of another type to clear", lambda ctx: ctx.clear(b"a"), "a key of the state is a StateKey or a name"),
    ("signal without a name", lambda ctx: ctx.signal(""), "a signal needs a name"),
    ("promise without a name", lambda ctx: ctx.promise(""), "a promise needs a name"),
    ("negative sleep", lambda ctx: ctx.sleep(-1), "the duration of a sleep is at least 0"),
    ("endless sleep", lambda ctx: ctx.sleep(float("inf")), "the duration of a sleep is at least 0"),
    ("call of a name", lambda ctx: ctx.call("Callee/double", 1), "takes the handler object"),
    ("call of a function", lambda ctx: ctx.call(ticks, 1), "takes the handler object"),
    ("negative delay", lambda ctx: ctx.send(double, 1, delay=-1), "delay is at least 0"),
    ("handle of a number", lambda ctx: ctx.invocation(1), "takes an invocation id or a handler"),
    ("id with a key", lambda ctx: ctx.invocation("inv_1x", key="k"), "takes no key"),
    ("workflow without a key", lambda ctx: ctx.invocation(run_flow), "give key="),
    ("handler without a key of idempotency", lambda ctx: ctx.invocation(double), "idempotency key"),
    ("object without a key", lambda ctx: ctx.invocation(touch, idempotency_key="i"), "has a key"),
    ("negative timeout", lambda ctx: ctx.run(ticks, timeout=-1), "timeout is at least 0"),
    ("empty idempotency key", lambda ctx: ctx.call(double, 1, idempotency_key=""), "must not be empty"),
]


@pytest.mark.parametrize(("do", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_what_makes_no_sense_is_refused_and_writes_nothing(do: Callable[[Any], Any], text: str) -> None:
    async def handler(ctx: Any) -> str:
        with pytest.raises(UsageError, match=text):
            do(ctx)
        return "went on"

    peer = Peer()
    async with attempt(handler, peer):
        pass
    assert peer.kinds == ["OutputCommand", "EndMessage"]


async def test_a_call_may_have_serdes_of_its_own() -> None:
    async def handler(ctx: Any) -> bytes:
        return await ctx.call(double, b"raw", input=serde_for(bytes), output=serde_for(bytes))  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer):
        call = await peer.hears(CallCommand)
        assert call.parameter == b"raw"
        peer.tells(CallInvocationIdCompletion(1, X), CallCompletion(2, Value(b"also raw")))
    assert peer.output == "also raw"


async def test_values_may_have_serdes_of_their_own() -> None:
    raw = serde_for(bytes)

    async def handler(ctx: Any) -> bytes:
        ctx.set("k", b"raw", serde=raw)
        return b"".join(
            [
                await ctx.get("k", serde=raw),
                await ctx.awakeable(serde=raw),
                await ctx.signal("go", serde=raw),
                await ctx.run(lambda: b"step", serde=raw),
            ]
        )

    peer = Peer(
        SetStateCommand(b"k", Value(b"raw")),
        SignalNotification(17, Value(b" awakeable ")),
        SignalNotification("go", Value(b"signal ")),
    )
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.sent[2].result == Value(b"step")  # type: ignore[attr-defined]  # a proposal


async def test_a_scope_needs_version_7() -> None:
    async def handler(ctx: Any) -> list[Any]:
        ctx.call(double, 1, scope="s", limit_key="a/b")
        return [ctx.scope, ctx.limit_key, ctx.idempotency_key]

    peer = Peer(scope="s", limit_key="l", idempotency_key="i")
    async with attempt(handler, peer, version=V7):
        pass
    assert peer.output == '["s","l","i"]'
    old = Peer()
    async with attempt(handler, old, version=V6) as running:
        assert await running.ended() is End.FAILED
    (error,) = old.sent
    assert isinstance(error, ErrorMessage)
    assert error.code == 573


async def test_values_that_cannot_be_written_say_what_they_are_of() -> None:
    async def handler(ctx: Any) -> list[str]:
        texts = []
        attempts: list[Callable[[], Any]] = [
            lambda: ctx.set("k", object()),
            lambda: ctx.resolve_awakeable("sign_1x", object()),
            lambda: ctx.call(double, object()),
            lambda: ctx.promise("p", int).resolve(object()),
            lambda: ctx.invocation("inv_1x").signal("go").resolve(object()),
        ]
        for do in attempts:
            try:
                do()
            except Exception as error:  # noqa: BLE001 - the test looks at them
                texts.append(str(error))
        return texts

    peer = Peer()
    async with attempt(handler, peer):
        pass
    for of in ("state 'k'", "awakeable sign_1x", "the input of Callee/double", "promise 'p'", "signal 'go'"):
        assert of in peer.output
    assert peer.kinds == ["OutputCommand", "EndMessage"]


async def test_a_context_names_its_invocation_and_its_key() -> None:
    seen: list[Any] = []

    async def handler(ctx: Any) -> None:
        seen.extend([repr(ctx), ctx.invocation_id, ctx.key, ctx.app])

    async with attempt(handler, Peer(key="k"), app="the app"):
        pass
    assert seen == ["<context of inv_1>", "inv_1", "k", "the app"]
