"""The endpoint is killed, or asked to end, in the middle of invocations, and started again on the same port."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.deployment import Deployment
from tests.conformance.test_command_interpreter import awakeable, one, results, returns, send, sleep
from tests.conformance.test_object_interpreter import Counts, count, random_program, wait_for_count
from tests.processes import wait_for

pytestmark = [pytest.mark.configurations("default", "suspending", "http11", "v7", "serve"), pytest.mark.noisy]

PROMPTLY = 8.0
"""Seconds; at ten the process would be killed."""


def kill(deployment: Deployment) -> None:
    assert deployment.endpoint.kill() == -signal.SIGKILL


def terminate(deployment: Deployment) -> None:
    begun = time.monotonic()
    code = deployment.endpoint.terminate()
    assert time.monotonic() - begun < PROMPTLY
    if deployment.configuration.perdure_serve:
        assert code == 0
    else:
        # Hypercorn on trio does not handle the signal, and on asyncio it trips over the requests that it cuts off.
        assert code in {0, 1, -signal.SIGTERM}


@pytest.fixture(params=[kill, terminate], ids=lambda end: str(end.__name__))
def end(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[Callable[[], None]]:
    """End the endpoint's process one way or the other; after the test it runs again."""
    yield lambda: request.param(deployment)
    if deployment.endpoint.returncode is not None:
        deployment.endpoint.start()


def test_an_invocation_goes_on_where_it_was(deployment: Deployment, key: str, end: Callable[[], None]) -> None:
    id = send(deployment, key, one(returns("before")), one(sleep(300)), one(returns("after")))
    wait_for(lambda: results(deployment, key) == ["before"])
    end()
    deployment.endpoint.start()
    assert deployment.attach(id) == "after"
    assert results(deployment, key) == ["before", "sleep", "after"]


def test_what_comes_while_nobody_is_there_is_not_lost(
    deployment: Deployment, key: str, end: Callable[[], None]
) -> None:
    id = send(deployment, key, one(awakeable("a")), one(returns("after")))
    wait_for(lambda: deployment.call("VirtualObjectCommandInterpreter/hasAwakeable", "a", key=key) is True)
    end()
    sent = deployment.send(
        "VirtualObjectCommandInterpreter/resolveAwakeable", {"awakeableKey": "a", "value": "meanwhile"}, key=key
    )
    deployment.endpoint.start()
    assert deployment.attach(sent) is None
    assert deployment.attach(id) == "after"
    assert results(deployment, key) == ["meanwhile", "after"]


def test_a_workflow_waits_over_a_restart(deployment: Deployment, key: str, end: Callable[[], None]) -> None:
    id = deployment.send("BlockAndWaitWorkflow/run", "given", key=key)
    wait_for(lambda: deployment.call("BlockAndWaitWorkflow/getState", key=key) == "given")
    end()
    deployment.endpoint.start()
    deployment.call("BlockAndWaitWorkflow/unblock", "value", key=key)
    assert deployment.attach(id) == "value"


def test_an_invocation_is_cancelled_while_nobody_is_there(
    deployment: Deployment, key: str, end: Callable[[], None]
) -> None:
    runner = deployment.send("CancelTestRunner/startTest", "SLEEP", key=key)
    wait_for(lambda: deployment.call("AwakeableHolder/hasAwakeable", key=key) is True)
    end()
    deployment.server.cancel(runner)
    deployment.endpoint.start()
    assert deployment.attach(runner) is None
    assert deployment.call("CancelTestRunner/verifyTest", key=key) is True


def test_programs_count_exactly_over_restarts(deployment: Deployment, key: str, end: Callable[[], None]) -> None:
    choose = random.Random(key)
    counts: Counts = Counter()
    programs = []
    for number in range(16):
        own = f"{key}-{number % 4}"
        programs.append((own, random_program(choose, 0, own, counts)))
    before = {which: count(deployment, which[1], which[0]) for which in counts}
    with ThreadPoolExecutor(16) as threads:
        running = [
            threads.submit(deployment.call, "ObjectInterpreterL0/interpret", program, key=own)
            for own, program in programs
        ]
        for _ in range(2):
            wait_for(lambda: sum(each.done() for each in running) > 0)
            end()
            deployment.endpoint.start()
        assert [each.result() for each in running] == [None] * len(programs)
    for (layer, own), expected in counts.items():
        wait_for_count(deployment, own, before[layer, own] + expected, layer)


def test_an_idle_endpoint_ends_promptly(deployment: Deployment) -> None:
    assert deployment.call("TestUtilsService/echo", "x") == "x"
    terminate(deployment)
    deployment.endpoint.start()
    assert deployment.call("TestUtilsService/echo", "y") == "y"
