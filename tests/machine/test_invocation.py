"""Whole dialogues with the machine of one attempt, as bytes and as objects, in every version of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from perdure.exceptions import JournalMismatchError, ProtocolError, UnsupportedFeatureError, UsageError
from perdure.machine.awaiting import FAILED, PENDING, SUCCEEDED, Combined, Leaf
from perdure.machine.invocation import Invocation
from perdure.machine.states import State
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    AttachInvocationCommand,
    AttachInvocationCompletion,
    AwaitingOnMessage,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    ClearAllStateCommand,
    ClearStateCommand,
    CombinatorType,
    Command,
    CommandAckMessage,
    CompleteAwakeableCommand,
    CompletePromiseCommand,
    CompletePromiseCompletion,
    EndMessage,
    ErrorBehavior,
    ErrorMessage,
    Failure,
    FailureMetadata,
    Future,
    GetEagerStateCommand,
    GetEagerStateKeysCommand,
    GetInvocationOutputCommand,
    GetInvocationOutputCompletion,
    GetLazyStateCommand,
    GetLazyStateCompletion,
    GetLazyStateKeysCommand,
    GetLazyStateKeysCompletion,
    GetPromiseCommand,
    GetPromiseCompletion,
    Header,
    InputCommand,
    InvocationId,
    Message,
    Notification,
    OneWayCallCommand,
    OutputCommand,
    PeekPromiseCommand,
    PeekPromiseCompletion,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SendSignalCommand,
    SetStateCommand,
    SignalNotification,
    SleepCommand,
    SleepCompletion,
    StartMessage,
    StateKeys,
    SuspensionMessage,
    Value,
    Void,
    WorkflowTarget,
)
from perdure.wire.versions import ProtocolVersion
from tests.machine.peers import ID, INPUT, V5, V6, V7, Peer, journal_of, opened

VOID = Void()
OK = Value(b"ok")
BAD = Failure(500, "bad")
VERSIONS = [V5, V6, V7]


def decoded(data: bytes) -> Iterator[Message]:
    decoder = Decoder()
    decoder.receive_data(data)
    return decoder.messages()


@pytest.fixture(params=[True, False], ids=["bytes", "objects"])
def as_bytes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=VERSIONS, ids=["V5", "V6", "V7"])
def version(request: pytest.FixtureRequest) -> ProtocolVersion:
    value: ProtocolVersion = request.param
    return value


# --- dialogues -----------------------------------------------------------------------------------------------------


def stored(version: ProtocolVersion, proposal: ProposeRunCompletionMessage) -> Message:
    """What a runtime answers to a proposal: an ack (version 7), or the completion (5 and 6)."""
    if version is V7:
        return ProposeRunCompletionAckMessage(proposal.result_completion_id)
    return RunCompletion(proposal.result_completion_id, proposal.result)


def test_a_step_and_a_timer_from_the_start_to_the_end(version: ProtocolVersion, as_bytes: bool) -> None:
    machine = Invocation(version)
    peer = Peer(machine, as_bytes=as_bytes)
    peer.tells(*journal_of())
    assert machine.input() == INPUT
    run, sleep = machine.run("charge"), machine.sleep(1_000)
    assert peer.hears() == [RunCommand(1, "charge"), SleepCommand(1_000, 2)]
    machine.propose_run(run, OK)
    proposal = ProposeRunCompletionMessage(1, OK, requested_ack=version is V7)
    assert peer.hears() == [proposal]
    peer.tells(SleepCompletion(2, VOID), stored(version, proposal))
    assert (run.state, sleep.state, machine.undelivered) == (PENDING, PENDING, 2)
    machine.deliver()
    assert (run.state, sleep.result) == (PENDING, VOID)
    machine.deliver()
    assert (run.result, machine.deliver()) == (OK, None)
    machine.write_output(Value(b"out"))
    machine.end()
    assert peer.hears() == [OutputCommand(Value(b"out")), EndMessage()]
    assert machine.closed


def test_the_same_in_a_replay_writes_nothing_until_the_last_recorded_command(
    version: ProtocolVersion, as_bytes: bool
) -> None:
    machine = Invocation(version)
    peer = Peer(machine, as_bytes=as_bytes)
    peer.tells(
        *journal_of(RunCommand(1, "charge"), SleepCommand(1_000, 2), SleepCompletion(2, VOID), RunCompletion(1, OK))
    )
    machine.input()
    run, sleep = machine.run("charge"), machine.sleep(5_000)
    assert (machine.replaying, machine.written, peer.hears()) == (False, 0, [])
    machine.deliver()
    assert (run.state, sleep.result) == (PENDING, VOID)
    machine.deliver()
    machine.write_output(run.result if isinstance(run.result, Value) else BAD)
    machine.end()
    assert peer.hears() == [OutputCommand(OK), EndMessage()]


def test_a_suspension_lists_what_is_waited_for(version: ProtocolVersion, as_bytes: bool) -> None:
    machine = Invocation(version)
    peer = Peer(machine, as_bytes=as_bytes)
    peer.tells(*journal_of())
    machine.input()
    _, call = machine.call("S", "h", b"")
    _, awakeable = machine.awakeable()
    named = machine.signal("go")
    machine.receive_eof()
    machine.suspend([Combined(CombinatorType.ALL_COMPLETED, [call, awakeable, named])])
    *_, suspension = peer.hears()
    if version is V7:
        nested = Future((2,), (17,), ("go",), (), CombinatorType.ALL_COMPLETED)
        tree = Future((), (CANCEL_SIGNAL,), (), (nested,), CombinatorType.FIRST_COMPLETED)
        assert suspension == SuspensionMessage(awaiting_on=tree)
    else:
        assert suspension == SuspensionMessage((2,), (CANCEL_SIGNAL, 17), ("go",))
    assert machine.closed


@pytest.mark.parametrize("length", [1, 3, 7, 8, 9, 64])
def test_bytes_may_be_split_anywhere(length: int) -> None:
    data = encode_frames(journal_of(RunCommand(1), RunCompletion(1, OK)))
    machine = Invocation(V6)
    for start in range(0, len(data), length):
        assert not machine.ready
        machine.receive_data(data[start : start + length])
    assert machine.ready
    assert machine.input() == INPUT


def test_everything_written_leaves_in_one_piece() -> None:
    machine = opened()
    machine.run("a")
    machine.set_state("k", b"v")
    assert machine.has_output
    assert machine.data_to_send() == encode_frames([RunCommand(1, "a"), SetStateCommand(b"k", Value(b"v"))])
    assert (machine.has_output, machine.data_to_send(), machine.messages_to_send()) == (False, b"", [])


# --- every command, written and repeated ---------------------------------------------------------------------------

Issue = Callable[[Invocation], Leaf | tuple[Leaf, Leaf] | None]
COMPLETABLE: list[tuple[str, Issue, Command, list[Notification]]] = [
    ("run", lambda m: m.run("r"), RunCommand(1, "r"), [RunCompletion(1, OK)]),
    ("unnamed run", lambda m: m.run(), RunCommand(1), [RunCompletion(1, BAD)]),
    ("sleep", lambda m: m.sleep(9, "n"), SleepCommand(9, 1, "n"), [SleepCompletion(1, VOID)]),
    (
        "call",
        lambda m: m.call("S", "h", b"p", key="k", headers=[Header("a", "b")], idempotency_key="i", name="n"),
        CallCommand("S", "h", b"p", (Header("a", "b"),), "k", "i", None, None, 1, 2, "n"),
        [CallInvocationIdCompletion(1, InvocationId("inv_1x")), CallCompletion(2, OK)],
    ),
    (
        "send",
        lambda m: m.send("S", "h", b"p", key="k", invoke_time=8, headers=[Header("a", "b")], idempotency_key="i"),
        OneWayCallCommand("S", "h", b"p", 8, (Header("a", "b"),), "k", "i", None, None, 1),
        [CallInvocationIdCompletion(1, InvocationId("inv_1x"))],
    ),
    (
        "attach",
        lambda m: m.attach(InvocationId("inv_1x"), "n"),
        AttachInvocationCommand(InvocationId("inv_1x"), 1, "n"),
        [AttachInvocationCompletion(1, OK)],
    ),
    (
        "get output",
        lambda m: m.get_output(WorkflowTarget("W", "k")),
        GetInvocationOutputCommand(WorkflowTarget("W", "k"), 1),
        [GetInvocationOutputCompletion(1, VOID)],
    ),
    ("get promise", lambda m: m.get_promise("p"), GetPromiseCommand("p", 1), [GetPromiseCompletion(1, OK)]),
    ("peek promise", lambda m: m.peek_promise("p"), PeekPromiseCommand("p", 1), [PeekPromiseCompletion(1, VOID)]),
    (
        "complete promise",
        lambda m: m.complete_promise("p", OK),
        CompletePromiseCommand("p", OK, 1),
        [CompletePromiseCompletion(1, VOID)],
    ),
    (
        "get lazy state",
        lambda m: m.get_state("k"),
        GetLazyStateCommand(b"k", 1),
        [GetLazyStateCompletion(1, VOID)],
    ),
    (
        "get lazy state keys",
        lambda m: m.get_state_keys(),
        GetLazyStateKeysCommand(1),
        [GetLazyStateKeysCompletion(1, StateKeys((b"k",)))],
    ),
]
ONE_WAY: list[tuple[str, Issue, Command]] = [
    ("set", lambda m: m.set_state("k", b"v", "n"), SetStateCommand(b"k", Value(b"v"), "n")),
    ("clear", lambda m: m.clear_state("k"), ClearStateCommand(b"k")),
    ("clear all", lambda m: m.clear_all_state(), ClearAllStateCommand()),
    ("send signal", lambda m: m.send_signal("inv_1x", "go", OK), SendSignalCommand("inv_1x", "go", OK)),
    ("cancel", lambda m: m.cancel("inv_1x"), SendSignalCommand("inv_1x", CANCEL_SIGNAL, VOID)),
    (
        "complete awakeable",
        lambda m: m.complete_awakeable("sign_1x", BAD, "n"),
        CompleteAwakeableCommand("sign_1x", BAD, "n"),
    ),
]


def leaves_of(made: Leaf | tuple[Leaf, Leaf] | None) -> list[Leaf]:
    return [made] if isinstance(made, Leaf) else list(made or ())


@pytest.mark.parametrize(
    ("issue", "command", "completions"), [case[1:] for case in COMPLETABLE], ids=[case[0] for case in COMPLETABLE]
)
def test_a_command_with_a_result_is_written_and_its_leaves_settle(
    issue: Issue, command: Command, completions: list[Notification]
) -> None:
    machine = opened(partial=True)
    leaves = leaves_of(issue(machine))
    assert machine.messages_to_send() == [command]
    assert (machine.written, machine.command_index, [leaf.command for leaf in leaves]) == (1, 1, [1] * len(leaves))
    for completion in completions:
        machine.receive(completion)
        machine.deliver()
    assert [leaf.result for leaf in leaves] == [completion.result for completion in completions]  # type: ignore[attr-defined]  # all have one


@pytest.mark.parametrize(
    ("issue", "command", "completions"), [case[1:] for case in COMPLETABLE], ids=[case[0] for case in COMPLETABLE]
)
def test_a_command_with_a_result_is_repeated_and_its_leaves_settle(
    issue: Issue, command: Command, completions: list[Notification]
) -> None:
    machine = opened(command, *completions, partial=True)
    leaves = leaves_of(issue(machine))
    assert (machine.messages_to_send(), machine.written, machine.command_index) == ([], 0, 1)
    for _ in completions:
        machine.deliver()
    assert [leaf.result for leaf in leaves] == [completion.result for completion in completions]  # type: ignore[attr-defined]  # all have one


@pytest.mark.parametrize(("issue", "command"), [case[1:] for case in ONE_WAY], ids=[case[0] for case in ONE_WAY])
def test_a_command_without_a_result_is_written_and_repeated(issue: Issue, command: Command) -> None:
    first = opened()
    issue(first)
    assert first.messages_to_send() == [command]
    again = opened(command)
    issue(again)
    assert (again.messages_to_send(), again.replaying) == ([], False)


@pytest.mark.parametrize("issue", [case[1] for case in (*COMPLETABLE, *ONE_WAY)])
def test_a_command_that_was_not_recorded_is_a_mismatch(issue: Issue) -> None:
    machine = opened(OutputCommand(OK))
    with pytest.raises(JournalMismatchError, match="recorded: return of the handler") as raised:
        issue(machine)
    assert raised.value.index == 1
    assert machine.messages_to_send() == []


def test_completion_ids_are_counted_alike_whether_state_is_eager_or_lazy() -> None:
    eager, lazy = opened(state={b"k": b"v"}), opened(partial=True)
    for machine in (eager, lazy):
        machine.get_state("k")
        assert machine.run("r").id == 2


@pytest.mark.parametrize("stable", [True, False])
def test_payloads_of_an_unstable_serde_are_not_compared(stable: bool) -> None:
    machine = opened(
        SetStateCommand(b"k", Value(b"1")),
        CallCommand("S", "h", b"1", invocation_id_notification_idx=1, result_completion_id=2),
        OneWayCallCommand("S", "h", b"1", invocation_id_notification_idx=3),
        SendSignalCommand("inv_1x", "go", Value(b"1")),
        CompleteAwakeableCommand("sign_1x", Value(b"1")),
        CompletePromiseCommand("p", Value(b"1"), 4),
        OutputCommand(Value(b"1")),
    )
    payload = b"1" if stable else b"2"
    machine.set_state("k", payload, stable=stable)
    machine.call("S", "h", payload, stable=stable)
    machine.send("S", "h", payload, stable=stable)
    machine.send_signal("inv_1x", "go", Value(payload), stable=stable)
    machine.complete_awakeable("sign_1x", Value(payload), stable=stable)
    machine.complete_promise("p", Value(payload), stable=stable)
    machine.write_output(Value(payload), stable=stable)
    assert (machine.replaying, machine.messages_to_send()) == (False, [])


# --- state ---------------------------------------------------------------------------------------------------------


def test_a_key_that_was_sent_along_is_read_at_once_and_recorded_with_its_value() -> None:
    machine = opened(state={b"k": b"v"})
    leaf = machine.get_state("k")
    assert (leaf.state, leaf.result) == (SUCCEEDED, Value(b"v"))
    assert machine.messages_to_send() == [GetEagerStateCommand(b"k", Value(b"v"))]


def test_a_key_that_is_known_to_be_absent_is_recorded_as_nothing() -> None:
    machine = opened()
    assert machine.get_state("k").result == VOID
    assert machine.messages_to_send() == [GetEagerStateCommand(b"k", VOID)]


def test_an_empty_value_is_not_an_absent_one() -> None:
    assert opened(state={b"k": b""}).get_state("k").result == Value(b"")


def test_a_key_of_a_partial_state_is_asked_for() -> None:
    machine = opened(state={b"k": b"v"}, partial=True)
    assert (machine.get_state("k").state, machine.get_state("other").state) == (SUCCEEDED, PENDING)
    assert machine.messages_to_send() == [GetEagerStateCommand(b"k", Value(b"v")), GetLazyStateCommand(b"other", 2)]


def test_own_writes_are_read_back_at_once() -> None:
    machine = opened(partial=True)
    machine.set_state("k", b"v")
    assert machine.get_state("k").result == Value(b"v")
    machine.clear_state("k")
    assert machine.get_state("k").result == VOID
    machine.clear_all_state()
    assert machine.get_state("other").result == VOID
    assert machine.get_state_keys().result == StateKeys()


def test_the_keys_of_a_whole_state_are_known() -> None:
    machine = opened(state={b"b": b"", b"a": b""})
    assert machine.get_state_keys().result == StateKeys((b"a", b"b"))
    assert machine.messages_to_send() == [GetEagerStateKeysCommand(StateKeys((b"a", b"b")))]


def test_keys_are_text_in_utf_8() -> None:
    machine = opened()
    machine.set_state("schlüssel", b"")
    assert machine.messages_to_send() == [SetStateCommand("schlüssel".encode(), Value(b""))]


def test_an_eager_read_is_repeated_as_recorded_though_the_state_is_another_now() -> None:
    machine = opened(GetEagerStateCommand(b"k", Value(b"then")), state={b"k": b"now"})
    assert machine.get_state("k").result == Value(b"then")


def test_an_eager_read_is_repeated_although_the_key_was_not_sent_along_this_time() -> None:
    machine = opened(GetEagerStateCommand(b"k", Value(b"then")), partial=True)
    assert machine.get_state("k").result == Value(b"then")


def test_a_lazy_read_is_repeated_although_the_key_was_sent_along_this_time() -> None:
    machine = opened(GetLazyStateCommand(b"k", 1), GetLazyStateCompletion(1, Value(b"then")), state={b"k": b"now"})
    leaf = machine.get_state("k")
    assert leaf.state == PENDING
    machine.deliver()
    assert leaf.result == Value(b"then")


def test_keys_are_repeated_as_recorded_eager_or_lazy() -> None:
    eager = opened(GetEagerStateKeysCommand(StateKeys((b"then",))), partial=True)
    assert eager.get_state_keys().result == StateKeys((b"then",))
    lazy = opened(GetLazyStateKeysCommand(1), GetLazyStateKeysCompletion(1, StateKeys((b"then",))), state={b"now": b""})
    leaf = lazy.get_state_keys()
    lazy.deliver()
    assert leaf.result == StateKeys((b"then",))


def test_recorded_answers_that_protobuf_left_out_are_nothing() -> None:
    machine = opened(GetEagerStateCommand(b"k", None), GetEagerStateKeysCommand(None))
    assert machine.get_state("k").result == VOID
    assert machine.get_state_keys().result == StateKeys()


def test_writes_of_the_replayed_part_are_known_to_reads_behind_it() -> None:
    machine = opened(SetStateCommand(b"k", Value(b"v")), partial=True)
    machine.set_state("k", b"v")
    assert machine.get_state("k").result == Value(b"v")


def test_a_read_of_another_key_than_recorded_is_a_mismatch() -> None:
    with pytest.raises(JournalMismatchError, match="key: b'a' -> b'b'"):
        opened(GetEagerStateCommand(b"a", VOID)).get_state("b")


# --- runs ----------------------------------------------------------------------------------------------------------


def test_metadata_of_a_failure_is_left_out_where_version_5_cannot_store_it(version: ProtocolVersion) -> None:
    machine = opened(version=version)
    failure = Failure(409, "no", (FailureMetadata("a", "b"),))
    kept = Failure(409, "no") if version is V5 else failure
    machine.propose_run(machine.run(), failure)
    machine.complete_promise("p", failure)
    machine.complete_awakeable("sign_1x", failure)
    machine.send_signal("inv_1x", "go", failure)
    machine.write_output(failure)
    _, proposal, promise, awakeable, signal, output = machine.messages_to_send()
    assert proposal == ProposeRunCompletionMessage(1, kept, requested_ack=version is V7)
    assert promise == CompletePromiseCommand("p", kept, 2)
    assert awakeable == CompleteAwakeableCommand("sign_1x", kept)
    assert signal == SendSignalCommand("inv_1x", "go", kept)
    assert output == OutputCommand(kept)


def test_an_acknowledged_failure_of_version_7_settles_with_its_metadata() -> None:
    machine = opened(version=V7)
    failure = Failure(409, "no", (FailureMetadata("a", "b"),))
    run = machine.run()
    machine.propose_run(run, failure)
    machine.receive(ProposeRunCompletionAckMessage(1))
    machine.deliver()
    assert (run.result, run.state) == (failure, FAILED)


def test_an_ack_that_nothing_was_proposed_for_is_refused(version: ProtocolVersion) -> None:
    machine = opened(version=version)
    machine.run()
    with pytest.raises(ProtocolError, match="never proposed"):
        machine.receive(ProposeRunCompletionAckMessage(1))


def test_nothing_is_proposed_during_a_replay() -> None:
    machine = opened(RunCommand(1), RunCommand(2))
    with pytest.raises(RuntimeError, match="proposal is not possible"):
        machine.propose_run(machine.run(), OK)


def test_earlier_tries_count_for_the_last_recorded_command_only() -> None:
    machine = opened(RunCommand(1), RunCommand(2), retries=3, milliseconds=1500)
    first, second = machine.run(), machine.run()
    assert (machine.earlier_tries(first), machine.earlier_tries(second)) == ((0, 0.0), (3, 1.5))


def test_earlier_tries_do_not_count_for_a_new_command() -> None:
    machine = opened(RunCommand(1), retries=3, milliseconds=1500)
    machine.run()
    assert machine.earlier_tries(machine.run()) == (0, 0.0)


def test_earlier_tries_do_not_count_once_something_was_written() -> None:
    machine = opened(RunCommand(1), retries=3, milliseconds=1500)
    run = machine.run()
    assert machine.earlier_tries(run) == (3, 1.5)
    machine.set_state("k", b"")
    assert machine.earlier_tries(run) == (0, 0.0)


def test_a_first_attempt_has_no_earlier_tries() -> None:
    machine = opened(RunCommand(1), milliseconds=1500)
    assert machine.earlier_tries(machine.run()) == (0, 0.0)


# --- calls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["call", "send"])
def test_a_scope_needs_version_7(method: str, version: ProtocolVersion) -> None:
    machine = opened(version=version)
    if version is V7:
        getattr(machine, method)("S", "h", b"", scope="s", limit_key="l")
        (command,) = machine.messages_to_send()
        assert isinstance(command, CallCommand | OneWayCallCommand)
        assert (command.scope, command.limit_key) == ("s", "l")
    else:
        with pytest.raises(UnsupportedFeatureError, match=f"a scope needs service protocol V7.*{version.name}"):
            getattr(machine, method)("S", "h", b"", scope="s")
        assert machine.messages_to_send() == []


@pytest.mark.parametrize("method", ["call", "send"])
@pytest.mark.parametrize("option", ["idempotency_key", "scope", "limit_key"])
def test_an_empty_option_is_refused(method: str, option: str) -> None:
    with pytest.raises(UsageError, match="must not be empty"):
        getattr(opened(version=V7), method)("S", "h", b"", **{option: ""})


@pytest.mark.parametrize("method", ["call", "send"])
def test_a_limit_key_needs_a_scope(method: str) -> None:
    with pytest.raises(UsageError, match="only within a scope"):
        getattr(opened(version=V7), method)("S", "h", b"", limit_key="l")


@pytest.mark.parametrize("method", ["call", "send"])
def test_a_refused_call_takes_no_completion_ids(method: str) -> None:
    machine = opened(version=V6)
    with pytest.raises(UnsupportedFeatureError):
        getattr(machine, method)("S", "h", b"", scope="s")
    assert machine.run().id == 1


# --- signals -------------------------------------------------------------------------------------------------------


def test_an_awakeable_is_a_token_of_this_invocation_and_writes_nothing() -> None:
    machine = opened()
    (one, _), (two, leaf) = machine.awakeable(), machine.awakeable()
    assert (one, two) == (
        "sign_1AAECAwQFBgcICQoLDA0ODxAREhMUFRYXAAAAEQ",
        "sign_1AAECAwQFBgcICQoLDA0ODxAREhMUFRYXAAAAEg",
    )
    assert not machine.has_output
    machine.receive(SignalNotification(18, OK))
    machine.deliver()
    assert leaf.result == OK


def test_a_named_signal_settles_once_it_is_collected() -> None:
    machine = opened(then=[SignalNotification("go", OK)])
    leaf = machine.signal("go")
    machine.deliver()
    assert leaf.state == PENDING
    machine.collect_signal(leaf)
    assert leaf.result == OK


def test_a_name_can_be_awaited_once_only_where_the_runtime_wakes_for_it_once() -> None:
    machine = opened(then=[SignalNotification("go", OK)])
    machine.deliver()
    machine.collect_signal(machine.signal("go"))
    again = machine.signal("go")
    with pytest.raises(UsageError, match=r"'go' was received before.*another name"):
        machine.collect_signal(again)
    machine.receive(SignalNotification("go", OK))
    machine.deliver()
    assert again.state == PENDING


def test_a_value_that_was_kept_can_be_taken_although_the_name_was_used() -> None:
    machine = opened(then=[SignalNotification("go", OK), SignalNotification("go", Value(b"2"))])
    first, second = machine.signal("go"), machine.signal("go")
    machine.deliver()
    machine.deliver()
    machine.collect_signal(first)
    machine.collect_signal(second)
    assert second.result == Value(b"2")


def test_a_runtime_that_counts_wakes_for_a_name_again() -> None:
    machine = opened(then=[SignalNotification("go", OK)], counts_signals=True)
    machine.deliver()
    machine.collect_signal(machine.signal("go"))
    again = machine.signal("go")
    machine.collect_signal(again)
    machine.receive(SignalNotification("go", Value(b"2")))
    machine.deliver()
    assert again.result == Value(b"2")


def test_a_withdrawn_signal_gets_nothing() -> None:
    machine = opened()
    leaf = machine.signal("go")
    machine.collect_signal(leaf)
    machine.withdraw_signal(leaf)
    machine.receive(SignalNotification("go", OK))
    machine.deliver()
    assert leaf.state == PENDING


def test_a_delivered_cancel_is_known_and_in_no_await_tree_any_more(version: ProtocolVersion) -> None:
    machine = opened(version=version, then=[SignalNotification(CANCEL_SIGNAL, VOID)])
    sleep = machine.sleep(1)
    before = machine.cancelled
    machine.deliver()
    assert (before, machine.cancelled) == (False, True)
    machine.suspend([sleep])
    suspension = machine.messages_to_send()[-1]
    assert isinstance(suspension, SuspensionMessage)
    tree = suspension.awaiting_on
    assert CANCEL_SIGNAL not in (tree.waiting_signals if tree is not None else suspension.waiting_signals)


# --- what a handler waits for --------------------------------------------------------------------------------------


def test_the_hint_is_for_version_7(version: ProtocolVersion) -> None:
    machine = opened(version=version)
    sleep = machine.sleep(1)
    machine.messages_to_send()
    machine.awaiting_on([sleep], executing=True)
    tree = Future((1,), (CANCEL_SIGNAL,), (), (), CombinatorType.FIRST_COMPLETED)
    assert machine.messages_to_send() == (
        [AwaitingOnMessage(tree, executing_side_effects=True)] if version is V7 else []
    )


def test_there_is_no_hint_of_waiting_for_nothing() -> None:
    machine = opened(version=V7)
    machine.awaiting_on([Leaf(0)], executing=False)
    assert not machine.has_output


def test_no_hint_follows_the_end_of_an_attempt() -> None:
    machine = opened(version=V7)
    sleep = machine.sleep(1)
    machine.fail("x")
    machine.messages_to_send()
    machine.awaiting_on([sleep], executing=False)
    assert not machine.has_output


@pytest.mark.parametrize(
    ("nodes", "possible"),
    [([], False), ([Leaf(0)], False), ([Leaf(1)], True), ([Leaf(0), Leaf(0, -1, "", "go")], True)],
)
def test_suspending_on_nothing_that_can_arrive_is_not_possible(nodes: list[Leaf], possible: bool) -> None:
    assert opened().can_suspend_on(nodes) is possible


# --- ends ----------------------------------------------------------------------------------------------------------


def test_an_end_without_an_output_is_refused() -> None:
    with pytest.raises(RuntimeError, match="without an output"):
        opened().end()


def test_an_end_follows_an_output_that_an_earlier_attempt_wrote() -> None:
    machine = opened(OutputCommand(OK))
    machine.write_output(OK)
    machine.end()
    assert machine.messages_to_send() == [EndMessage()]


def test_an_end_before_the_end_of_the_journal_is_a_mismatch() -> None:
    machine = opened(OutputCommand(OK), RunCommand(1))
    machine.write_output(OK)
    with pytest.raises(JournalMismatchError, match="now:      the end of the handler"):
        machine.end()


def test_nothing_can_be_done_after_the_end() -> None:
    machine = opened()
    machine.write_output(OK)
    machine.end()
    with pytest.raises(RuntimeError, match="a command while the attempt is closed"):
        machine.run()
    with pytest.raises(RuntimeError, match="end is not possible"):
        machine.end()


def test_waiting_where_the_journal_goes_on_names_the_next_recorded_command() -> None:
    error = opened(RunCommand(1, "charge")).unreachable("waiting for sleep")
    assert (error.index, error.recorded, error.issued) == (1, "run named 'charge'", "waiting for sleep")


def test_an_error_names_the_last_command(version: ProtocolVersion) -> None:
    machine = opened(version=version)
    machine.set_state("k", b"", "step")
    machine.messages_to_send()
    machine.fail("no", code=501, stacktrace="trace", retry_after=1.5, behavior=ErrorBehavior.PAUSE)
    behavior = ErrorBehavior.PAUSE if version is V7 else ErrorBehavior.RETRY
    assert machine.messages_to_send() == [
        ErrorMessage(501, "no", "trace", 1, "step", SetStateCommand.type_code, 1500, behavior)
    ]
    assert machine.closed


def test_an_error_before_the_input_names_no_command() -> None:
    machine = Invocation(V6)
    machine.fail("no")
    assert machine.messages_to_send() == [ErrorMessage(500, "no")]


def test_an_error_of_a_step_names_that_step_though_others_followed() -> None:
    machine = opened()
    run = machine.run("charge")
    machine.run("other")
    machine.messages_to_send()
    machine.fail("no", leaf=run)
    assert machine.messages_to_send() == [ErrorMessage(500, "no", "", 1, "charge", RunCommand.type_code)]


def test_a_mismatch_names_the_recorded_command_that_was_not_repeated() -> None:
    machine = opened(RunCommand(1, "charge"), SleepCommand(1, 2, "nap"))
    machine.run("charge")
    with pytest.raises(JournalMismatchError) as raised:
        machine.set_state("k", b"")
    machine.fail(str(raised.value), code=570)
    (error,) = machine.messages_to_send()
    assert isinstance(error, ErrorMessage)
    assert (error.related_command_index, error.related_command_name, error.related_command_type) == (
        2,
        "nap",
        SleepCommand.type_code,
    )


def test_a_delay_is_rounded_to_milliseconds_and_never_negative() -> None:
    delays = []
    for seconds in (0.0, 0.0004, 2.0006, -1.0):
        machine = opened()
        machine.fail("no", retry_after=seconds)
        (error,) = machine.messages_to_send()
        assert isinstance(error, ErrorMessage)
        delays.append(error.next_retry_delay)
    assert delays == [0, 0, 2001, 0]


def test_only_the_first_end_is_sent() -> None:
    machine = opened()
    machine.fail("one")
    machine.fail("two")
    assert [getattr(message, "message", None) for message in machine.messages_to_send()] == ["one"]


def test_output_that_cannot_be_encoded_is_lost_and_can_be_told_though_it_ended_the_attempt() -> None:
    machine = opened()
    machine.run("file \udcff")
    machine.write_output(OK)
    machine.end()
    with pytest.raises(UsageError, match="RunCommand"):
        machine.data_to_send()
    assert machine.data_to_send() == b""
    machine.fail("cannot be written", name="file \udcff")
    assert list(decoded(machine.data_to_send())) == [
        ErrorMessage(500, "cannot be written", "", 2, "file \\udcff", OutputCommand.type_code)
    ]
    assert machine.closed


def test_output_that_cannot_be_encoded_before_the_end_can_be_told() -> None:
    machine = opened()
    machine.run("file \udcff")
    with pytest.raises(UsageError, match="RunCommand"):
        machine.data_to_send()
    machine.fail("cannot be written")
    assert machine.messages_to_send() == [
        ErrorMessage(500, "cannot be written", "", 1, "file \\udcff", RunCommand.type_code)
    ]


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([RunCommand(1)], "sent entry while the attempt was awaiting start"),
        ([SleepCompletion(1, VOID)], "sent notification while the attempt was awaiting start"),
        ([ProposeRunCompletionAckMessage(1)], "sent notification while the attempt was awaiting start"),
        ([*journal_of()[:1], *journal_of()], "sent start while the attempt was awaiting entries"),
        ([*journal_of(RunCommand(1))[:2], ProposeRunCompletionAckMessage(1)], "notification while .* awaiting entries"),
        ([*journal_of(), RunCommand(1)], "sent entry while the attempt was replaying"),
        ([*journal_of(), StartMessage(known_entries=1)], "sent start while the attempt was replaying"),
        ([StartMessage(known_entries=0)], "announces no journal entry"),
        ([StartMessage(known_entries=1), RunCommand(1)], "begins with RunCommand, not with the input"),
        ([StartMessage(known_entries=1), SleepCompletion(1, VOID)], "holds no command; the input is always there"),
        ([EndMessage()], "sent EndMessage, which only a handler may send"),
        ([*journal_of(), SuspensionMessage()], "SuspensionMessage, which only a handler may send"),
        ([*journal_of(), ErrorMessage()], "ErrorMessage, which only a handler may send"),
        ([*journal_of(), AwaitingOnMessage()], "AwaitingOnMessage, which only a handler may send"),
        ([*journal_of(), ProposeRunCompletionMessage()], "ProposeRunCompletionMessage, which only a handler may send"),
    ],
)
def test_what_a_runtime_may_not_say_is_a_protocol_error(messages: list[Message], text: str, as_bytes: bool) -> None:
    with pytest.raises(ProtocolError, match=text):
        Peer(Invocation(V6), as_bytes=as_bytes).tells(*messages)


def test_an_ack_of_a_command_is_ignored_anywhere(as_bytes: bool) -> None:
    machine = Invocation(V6)
    peer = Peer(machine, as_bytes=as_bytes)
    for message in (CommandAckMessage(0), *journal_of(), CommandAckMessage(1)):
        peer.tells(message)
    machine.input()
    machine.write_output(OK)
    machine.end()
    peer.tells(CommandAckMessage(2))
    assert machine.closed


def test_notifications_may_stand_before_the_input() -> None:
    machine = Invocation(V6)
    start = StartMessage(id=ID, known_entries=2)
    for message in (start, SignalNotification(CANCEL_SIGNAL, VOID), INPUT):
        machine.receive(message)
    assert machine.input() == INPUT


@pytest.mark.parametrize(
    "late",
    [SleepCompletion(9, VOID), ProposeRunCompletionAckMessage(9), RunCommand(1), InputCommand(), StartMessage()],
)
def test_input_after_the_end_is_late_and_not_wrong(late: Message, as_bytes: bool) -> None:
    machine = opened()
    machine.fail("no")
    machine.messages_to_send()
    Peer(machine, as_bytes=as_bytes).tells(late)
    assert (machine.closed, machine.has_output, machine.undelivered) == (True, False, 0)


def test_the_end_of_the_input_is_remembered_and_the_handler_goes_on() -> None:
    machine = opened()
    machine.receive_eof()
    assert machine.input_closed
    machine.run("r")
    assert machine.messages_to_send() == [RunCommand(1, "r")]


def test_the_end_of_the_input_during_a_replay_is_fine() -> None:
    machine = opened(RunCommand(1))
    machine.receive_eof()
    machine.run()
    assert machine.state is State.PROCESSING


def test_the_end_of_the_input_after_the_end_is_fine() -> None:
    machine = opened()
    machine.fail("no")
    machine.receive_eof()
    assert machine.closed


@pytest.mark.parametrize("entries", [0, 1, 2])
def test_a_journal_that_is_cut_off_is_a_protocol_error(entries: int) -> None:
    machine = Invocation(V6)
    for message in journal_of(RunCommand(1))[:entries]:
        machine.receive(message)
    with pytest.raises(ProtocolError, match="the journal is cut off"):
        machine.receive_eof()


def test_a_frame_that_is_cut_off_is_a_protocol_error() -> None:
    machine = opened()
    data = encode_frames([SleepCompletion(1, VOID)])
    machine.receive_data(data[:-1])
    with pytest.raises(ProtocolError, match="ended inside SleepCompletion"):
        machine.receive_eof()


def test_garbage_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match=r"unknown type"):
        Invocation(V6).receive_data(b"GET /\0\0\0 HTTP/1.1\r\n\r\n")


def test_an_oversized_message_is_refused_by_its_header() -> None:
    with pytest.raises(ProtocolError, match="the limit is"):
        Invocation(V6).receive_data(b"\x04\x00\x00\x00\xff\xff\xff\xff")


# --- what is known -------------------------------------------------------------------------------------------------


def test_a_machine_names_itself() -> None:
    assert repr(Invocation(V5)) == "<Invocation ? awaiting start, command -1, V5>"
    assert repr(opened(version=V7)) == "<Invocation inv_1 processing, command 0, V7>"


def test_the_start_message_is_not_there_before_it_came() -> None:
    with pytest.raises(AssertionError, match="not here yet"):
        _ = Invocation(V6).start


def test_replaying_ends_with_the_last_recorded_command_not_with_the_last_notification() -> None:
    machine = opened(RunCommand(1), RunCompletion(1, OK))
    assert (machine.replaying, machine.ready, machine.state) == (True, True, State.REPLAYING)
    machine.run()
    assert (machine.replaying, machine.ready, machine.undelivered) == (False, True, 1)


def test_bytes_after_the_end_are_not_even_looked_at() -> None:
    machine = opened()
    machine.fail("no")
    machine.receive_data(b"\xff" * 20)
    machine.receive_eof()
    assert machine.closed
