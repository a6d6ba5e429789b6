"""VirtualObjectCommandInterpreter on a real server: every combinator with every outcome."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.deployment import CallFailedError, Deployment
from tests.processes import wait_for

SERVICE = "VirtualObjectCommandInterpreter"


def interpret(deployment: Deployment, key: str, *commands: dict[str, Any]) -> Any:
    return deployment.call(f"{SERVICE}/interpretCommands", {"commands": list(commands)}, key=key)


def send(deployment: Deployment, key: str, *commands: dict[str, Any]) -> str:
    return deployment.send(f"{SERVICE}/interpretCommands", {"commands": list(commands)}, key=key)


def results(deployment: Deployment, key: str) -> Any:
    return deployment.call(f"{SERVICE}/getResults", key=key)


def one(awaitable: dict[str, Any]) -> dict[str, Any]:
    return {"type": "awaitOne", "command": awaitable}


def several(how: str, *awaitables: dict[str, Any]) -> dict[str, Any]:
    return {"type": how, "commands": list(awaitables)}


def awakeable(name: str) -> dict[str, Any]:
    return {"type": "createAwakeable", "awakeableKey": name}


def signal(name: str) -> dict[str, Any]:
    return {"type": "createSignal", "signalName": name}


def sleep(milliseconds: float) -> dict[str, Any]:
    return {"type": "sleep", "timeoutMillis": milliseconds}


def returns(value: str) -> dict[str, Any]:
    return {"type": "runReturns", "value": value}


def throws(reason: str) -> dict[str, Any]:
    return {"type": "runThrowTerminalException", "reason": reason}


def settle(deployment: Deployment, key: str, name: str, outcome: str) -> None:
    """Wait until an awakeable is registered, and resolve or reject it: `ok:value`, `err:reason`."""
    wait_for(lambda: deployment.call(f"{SERVICE}/hasAwakeable", name, key=key) is True)
    how, _, text = outcome.partition(":")
    if how == "ok":
        payload = {"awakeableKey": name, "value": text}
        assert deployment.call(f"{SERVICE}/resolveAwakeable", payload, key=key) is None
    else:
        payload = {"awakeableKey": name, "reason": text}
        assert deployment.call(f"{SERVICE}/rejectAwakeable", payload, key=key) is None


def outcome_of(deployment: Deployment, id: str) -> str:
    """What an invocation ended with: `ok:value`, or `err:message`."""
    try:
        return f"ok:{deployment.attach(id)}"
    except CallFailedError as error:
        return f"err:{error.message}" if error.status == 500 else f"{error.status}:{error.message}"


def test_no_commands_have_an_empty_result(deployment: Deployment, key: str) -> None:
    assert interpret(deployment, key) == ""
    assert results(deployment, key) == []


def test_results_are_kept_in_order_over_invocations(deployment: Deployment, key: str) -> None:
    assert interpret(deployment, key, one(returns("a")), one(sleep(1)), one(returns(""))) == ""
    assert interpret(deployment, key, one(returns("ü"))) == "ü"
    assert results(deployment, key) == ["a", "sleep", "", "ü"]


def test_a_command_that_fails_records_nothing_and_ends_the_program(deployment: Deployment, key: str) -> None:
    with pytest.raises(CallFailedError) as failed:
        interpret(deployment, key, one(returns("a")), one(throws("the reason")), one(returns("b")))
    assert (failed.value.status, failed.value.message) == (500, "the reason")
    assert results(deployment, key) == ["a"]


def test_an_awakeable_is_registered_before_it_is_awaited(deployment: Deployment, key: str) -> None:
    assert deployment.call(f"{SERVICE}/hasAwakeable", "a", key=key) is False
    id = send(deployment, key, one(awakeable("a")))
    settle(deployment, key, "a", "ok:the value")
    assert outcome_of(deployment, id) == "ok:the value"


def test_a_rejected_awakeable_fails_with_its_reason(deployment: Deployment, key: str) -> None:
    id = send(deployment, key, one(awakeable("a")))
    settle(deployment, key, "a", "err:the reason")
    assert outcome_of(deployment, id) == "err:the reason"


@pytest.mark.parametrize("handler", ["resolveAwakeable", "rejectAwakeable"])
def test_completing_what_is_not_registered_is_a_terminal_error(deployment: Deployment, key: str, handler: str) -> None:
    with pytest.raises(CallFailedError) as failed:
        deployment.call(f"{SERVICE}/{handler}", {"awakeableKey": "a", "value": "v", "reason": "r"}, key=key)
    assert failed.value.status == 500
    with pytest.raises(CallFailedError) as failed:
        interpret(deployment, key, {"type": handler, "awakeableKey": "a", "value": "v", "reason": "r"})
    assert failed.value.status == 500


@pytest.mark.parametrize(("how", "text", "outcome"), [("resolve", "v", "ok:v"), ("reject", "r", "err:r")])
def test_awakeables_are_completed_by_commands(
    deployment: Deployment, key: str, how: str, text: str, outcome: str
) -> None:
    # The first awakeable loses against the timer, and is then completed by the same invocation.
    first = several("awaitAny", awakeable("a"), sleep(1))
    member = "value" if how == "resolve" else "reason"
    complete = {"type": f"{how}Awakeable", "awakeableKey": "a", member: text}
    assert interpret(deployment, key, first, complete) == ""
    assert results(deployment, key) == ["sleep", ""]
    # Registered anew under the same name, it is another awakeable: what came for the first one is not for it.
    before = registered(deployment, key)
    id = send(deployment, key, {"type": "awaitAwakeableOrTimeout", "awakeableKey": "a", "timeoutMillis": 60_000})
    wait_for(lambda: registered(deployment, key) != before)
    settle(deployment, key, "a", outcome)
    assert outcome_of(deployment, id) == outcome


def registered(deployment: Deployment, key: str) -> Any:
    """The id that is registered under `a`, as the server stores it."""
    rows = deployment.server.query(f"SELECT value FROM state WHERE key = 'awk-a' AND service_key = '{key}'")
    return rows[0]["value"]


def test_an_awakeable_wins_against_its_timeout(deployment: Deployment, key: str) -> None:
    id = send(deployment, key, {"type": "awaitAwakeableOrTimeout", "awakeableKey": "a", "timeoutMillis": 60_000})
    settle(deployment, key, "a", "ok:in time")
    assert outcome_of(deployment, id) == "ok:in time"


def test_a_timeout_wins_against_its_awakeable(deployment: Deployment, key: str) -> None:
    with pytest.raises(CallFailedError) as failed:
        interpret(deployment, key, {"type": "awaitAwakeableOrTimeout", "awakeableKey": "a", "timeoutMillis": 50})
    assert failed.value.status == 500
    assert "await-timeout" in failed.value.message
    assert results(deployment, key) == []


def test_an_environment_variable_is_read(deployment: Deployment, key: str) -> None:
    assert interpret(deployment, key, {"type": "getEnvVariable", "envName": "CONFORMANCE_PROBE"}) == "some value"
    assert interpret(deployment, key, {"type": "getEnvVariable", "envName": "CONFORMANCE_UNSET"}) == ""


def test_a_signal_may_come_before_it_is_awaited(deployment: Deployment, key: str) -> None:
    id = send(deployment, key, one(awakeable("a")), one(signal("s")))
    wait_for(lambda: deployment.call(f"{SERVICE}/hasAwakeable", "a", key=key) is True)
    deployment.call("TestUtilsService/resolveSignal", {"invocationId": id, "signalName": "s", "value": "early"})
    settle(deployment, key, "a", "ok:go")
    assert outcome_of(deployment, id) == "ok:early"
    assert results(deployment, key) == ["go", "early"]


FIRST = ["awaitAny", "awaitFirstCompleted"]
FIRST_SUCCESS = ["awaitAnySuccessful", "awaitFirstSucceededOrAllFailed"]
ALL = "awaitAllSucceededOrFirstFailed"
SETTLED = "awaitAllCompleted"

CASES = [
    # how, what becomes of the awakeables a, b and c in the order of settling, the outcome
    *(
        (how, order, outcome)
        for how in FIRST
        for order, outcome in [
            (["b=ok:2"], "ok:2"),
            (["c=err:no"], "err:no"),
            (["a=ok:1"], "ok:1"),
        ]
    ),
    *(
        (how, order, outcome)
        for how in FIRST_SUCCESS
        for order, outcome in [
            (["b=ok:2"], "ok:2"),
            (["a=err:x", "c=ok:3"], "ok:3"),
            (["c=err:x", "b=err:y", "a=ok:1"], "ok:1"),
        ]
    ),
    (ALL, ["c=ok:3", "a=ok:1", "b=ok:2"], "ok:1|2|3"),
    (ALL, ["b=err:no"], "err:no"),
    (ALL, ["c=ok:3", "a=err:no"], "err:no"),
    (SETTLED, ["c=ok:3", "a=ok:1", "b=ok:2"], "ok:ok:1|ok:2|ok:3"),
    (SETTLED, ["b=err:no", "a=ok:1", "c=err:"], "ok:ok:1|err:no|err:"),
]


@pytest.mark.parametrize(("how", "order", "outcome"), CASES, ids="".join)
def test_a_combinator_of_awakeables(deployment: Deployment, key: str, how: str, order: list[str], outcome: str) -> None:
    id = send(deployment, key, several(how, awakeable("a"), awakeable("b"), awakeable("c")))
    for step in order:
        name, _, what = step.partition("=")
        settle(deployment, key, name, what)
    assert outcome_of(deployment, id) == outcome


@pytest.mark.parametrize("how", FIRST_SUCCESS)
def test_when_all_fail_the_error_names_a_reason(deployment: Deployment, key: str, how: str) -> None:
    id = send(deployment, key, several(how, awakeable("a"), throws("by a step"), awakeable("b")))
    settle(deployment, key, "b", "err:by b")
    settle(deployment, key, "a", "err:by a")
    outcome = outcome_of(deployment, id)
    assert outcome.startswith("err:")
    assert any(reason in outcome for reason in ("by a", "by b", "by a step"))
    assert results(deployment, key) == []


MIXED = [
    (several("awaitAny", awakeable("a"), sleep(20), signal("s")), "ok:sleep"),
    (several("awaitFirstCompleted", sleep(60_000), throws("at once")), "err:at once"),
    (several("awaitAnySuccessful", throws("ignored"), sleep(20)), "ok:sleep"),
    (several("awaitFirstSucceededOrAllFailed", throws("ignored"), awakeable("a"), returns("v")), "ok:v"),
    (several("awaitFirstSucceededOrAllFailed", throws("only")), "err:only"),
    (several(ALL, returns("v"), sleep(20), returns("w")), "ok:v|sleep|w"),
    (several(ALL, awakeable("a"), sleep(60_000), throws("at once")), "err:at once"),
    (several(ALL), "ok:"),
    (several(SETTLED, returns("v"), throws("no"), sleep(20)), "ok:ok:v|err:no|ok:sleep"),
    (several(SETTLED, throws("1"), throws("2")), "ok:err:1|err:2"),
    (several(SETTLED), "ok:"),
    (several("awaitAny", *[returns("same")] * 8), "ok:same"),
]


@pytest.mark.parametrize(("command", "outcome"), MIXED, ids=[command["type"] for command, _ in MIXED])
def test_a_combinator_of_timers_steps_and_others(
    deployment: Deployment, key: str, command: dict[str, Any], outcome: str
) -> None:
    # Another command follows: losers of the first are left behind and do no harm.
    if outcome.startswith("ok:"):
        assert interpret(deployment, key, command, one(returns("after"))) == "after"
        assert results(deployment, key) == [outcome.removeprefix("ok:"), "after"]
    else:
        with pytest.raises(CallFailedError) as failed:
            interpret(deployment, key, command, one(returns("after")))
        assert f"err:{failed.value.message}" == outcome
        assert results(deployment, key) == []


@pytest.mark.parametrize("how", [*FIRST, *FIRST_SUCCESS, ALL, SETTLED])
def test_signals_in_a_combinator(deployment: Deployment, key: str, how: str) -> None:
    id = send(deployment, key, several(how, signal("s"), signal("t")))
    for name in ("t", "s"):
        deployment.call("TestUtilsService/resolveSignal", {"invocationId": id, "signalName": name, "value": name})
    expected = {ALL: {"ok:s|t"}, SETTLED: {"ok:ok:s|ok:t"}}.get(how, {"ok:t"})
    assert outcome_of(deployment, id) in expected


def test_signals_of_one_name_are_taken_in_the_order_in_which_they_came(deployment: Deployment, key: str) -> None:
    id = send(deployment, key, one(awakeable("a")), one(signal("s")), one(signal("s")), one(signal("s")))
    wait_for(lambda: deployment.call(f"{SERVICE}/hasAwakeable", "a", key=key) is True)
    for number in range(3):
        deployment.call("TestUtilsService/resolveSignal", {"invocationId": id, "signalName": "s", "value": f"{number}"})
    settle(deployment, key, "a", "ok:go")
    assert outcome_of(deployment, id) == "ok:2"
    assert results(deployment, key) == ["go", "0", "1", "2"]


WAITING: list[dict[str, Any]] = [
    one(awakeable("a")),
    one(signal("s")),
    one(sleep(600_000)),
    {"type": "awaitAwakeableOrTimeout", "awakeableKey": "a", "timeoutMillis": 600_000},
    *(several(how, awakeable("a"), signal("s"), sleep(600_000)) for how in [*FIRST, *FIRST_SUCCESS, ALL, SETTLED]),
]


@pytest.mark.parametrize(
    "command", WAITING, ids=[f"{number}-{command['type']}" for number, command in enumerate(WAITING)]
)
def test_cancellation_surfaces_at_whatever_waits(deployment: Deployment, key: str, command: dict[str, Any]) -> None:
    id = send(deployment, key, one(returns("before")), command, one(returns("after")))
    wait_for(lambda: results(deployment, key) == ["before"])
    deployment.server.cancel(id)
    with pytest.raises(CallFailedError) as failed:
        deployment.attach(id)
    assert failed.value.status == 409
    assert results(deployment, key) == ["before"]


def test_many_interpreters_at_once(deployment: Deployment, key: str) -> None:
    program = [
        one(returns("a")),
        several(ALL, sleep(30), returns("b")),
        several("awaitAny", returns("c"), sleep(10_000)),
    ]
    with ThreadPoolExecutor(16) as threads:
        running = [threads.submit(interpret, deployment, f"{key}-{number}", *program) for number in range(48)]
        assert {one_of.result() for one_of in running} == {"c"}
    assert results(deployment, f"{key}-7") == ["a", "sleep|b", "c"]
