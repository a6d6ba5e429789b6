"""ObjectInterpreterL0 to L2 and their helper on a real server: every command, then random programs."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.deployment import CallFailedError, Deployment
from tests.processes import wait_for

Program = dict[str, Any]
Counts = Counter[tuple[int, str]]


def run(deployment: Deployment, key: str, *commands: dict[str, Any], layer: int = 0) -> Any:
    return deployment.call(f"ObjectInterpreterL{layer}/interpret", {"commands": list(commands)}, key=key)


def count(deployment: Deployment, key: str, layer: int = 0) -> Any:
    return deployment.call(f"ObjectInterpreterL{layer}/counter", key=key)


def wait_for_count(deployment: Deployment, key: str, expected: int, layer: int = 0) -> None:
    wait_for(lambda: count(deployment, key, layer) == expected)


def state_keys(deployment: Deployment, key: str) -> set[str]:
    rows = deployment.server.query(f"SELECT key FROM state WHERE service_key = '{key}'")
    return {row["key"] for row in rows}


def test_nothing_is_counted_at_first(deployment: Deployment, key: str) -> None:
    assert run(deployment, key) is None
    assert [count(deployment, key, layer) for layer in range(3)] == [0, 0, 0]


def test_state_is_set_read_and_cleared(deployment: Deployment, key: str) -> None:
    run(deployment, key, {"kind": 1, "key": 1}, {"kind": 2, "key": 1}, {"kind": 1, "key": 2}, {"kind": 2, "key": 9})
    assert state_keys(deployment, key) == {"key-1", "key-2"}
    run(deployment, key, {"kind": 3, "key": 1}, {"kind": 3, "key": 9}, {"kind": 2, "key": 1})
    assert state_keys(deployment, key) == {"key-2"}


@pytest.mark.parametrize(
    "command",
    [{"kind": 4}, {"kind": 5}, {"kind": 9, "duration": 20}, {"kind": 18}],
    ids=lambda one: f"kind {one['kind']}",
)
def test_increments_happen_once(deployment: Deployment, key: str, command: dict[str, Any]) -> None:
    run(deployment, key, command, command)
    wait_for_count(deployment, key, 2)


PASSING = [
    [{"kind": 6, "duration": 20}],
    [{"kind": 7}, {"kind": 15, "index": 0}],
    [{"kind": 7}, {"kind": 7}, {"kind": 15, "index": 1}, {"kind": 15, "index": 0}, {"kind": 15, "index": 0}],
    [{"kind": 8, "sleep": 20}, {"kind": 8, "sleep": 1}, {"kind": 15, "index": 0}, {"kind": 15, "index": 1}],
    [{"kind": 10}, {"kind": 10}],
    [{"kind": 11}] * 8,
    [{"kind": 12}],
    [{"kind": 13}],
    [{"kind": 14}],
    [{"kind": 14}, {"kind": 15, "index": 0}],
    [{"kind": 16}, {"kind": 15, "index": 0}],
    [{"kind": 16}, {"kind": 17}],
    [{"kind": 17}, {"kind": 15, "index": 0}],
    [{"kind": 15, "index": 7}],
]


@pytest.mark.parametrize("commands", PASSING, ids=lambda all_of: "-".join(str(one["kind"]) for one in all_of))
def test_commands_have_the_outcomes_they_must_have(
    deployment: Deployment, key: str, commands: list[dict[str, Any]]
) -> None:
    assert run(deployment, key, *commands, {"kind": 4}) is None
    assert count(deployment, key) == 1


def test_programs_call_the_next_layers(deployment: Deployment, key: str) -> None:
    inner = {"commands": [{"kind": 4}, {"kind": 5}]}
    middle = {"commands": [{"kind": 4}, {"kind": 19, "key": 7, "program": inner}, {"kind": 15, "index": 1}]}
    before = count(deployment, "7", layer=2), count(deployment, "5", layer=1)
    run(deployment, key, {"kind": 19, "key": 5, "program": middle}, {"kind": 15, "index": 0})
    assert count(deployment, "5", layer=1) == before[1] + 1
    wait_for_count(deployment, "7", before[0] + 2, layer=2)


def test_a_call_that_nobody_awaits_takes_place(deployment: Deployment, key: str) -> None:
    before = count(deployment, "6", layer=1)
    run(deployment, key, {"kind": 19, "key": 6, "program": {"commands": [{"kind": 6, "duration": 50}, {"kind": 4}]}})
    wait_for_count(deployment, "6", before + 1, layer=1)


def test_the_helper_does_what_it_says(deployment: Deployment) -> None:
    helper = "ServiceInterpreterHelper"
    assert deployment.call(f"{helper}/ping") is None
    assert deployment.call(f"{helper}/echo", "ü") == "ü"
    assert deployment.call(f"{helper}/echoLater", {"sleep": 10, "parameter": "x"}) == "x"
    with pytest.raises(CallFailedError) as failed:
        deployment.call(f"{helper}/terminalFailure")
    assert failed.value.status == 500


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_helper_increments_any_layer(deployment: Deployment, key: str, layer: int) -> None:
    deployment.call("ServiceInterpreterHelper/incrementIndirectly", {"layer": layer, "key": key})
    wait_for_count(deployment, key, 1, layer)


# --- random programs -----------------------------------------------------------------------------------------------

KEYS = 4


def random_program(choose: random.Random, layer: int, key: str, counts: Counts) -> Program:
    """A program, and how often it makes each object count."""
    commands: list[dict[str, Any]] = []
    kept: list[int] = []
    for index in range(choose.randrange(2, 9)):
        kind = choose.randrange(1, 20 if layer < 2 else 19)
        command: dict[str, Any] = {"kind": kind}
        match kind:
            case 1 | 2 | 3:
                command["key"] = choose.randrange(3)
            case 4 | 5 | 18:
                counts[layer, key] += 1
            case 6:
                command["duration"] = choose.randrange(10)
            case 8:
                command["sleep"] = choose.randrange(10)
            case 9:
                command["duration"] = choose.randrange(10)
                counts[layer, key] += 1
            case 15:
                command["index"] = choose.choice(kept) if kept else 99
            case 19:
                target = choose.randrange(KEYS)
                command["key"] = target
                command["program"] = random_program(choose, layer + 1, str(target), counts)
        if kind in {7, 8, 14, 16, 17, 19}:
            kept.append(index)
        commands.append(command)
    return {"commands": commands}


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_count_what_they_must(deployment: Deployment, key: str, seed: int) -> None:
    choose = random.Random(seed)
    counts: Counts = Counter()
    programs = []
    for number in range(24):
        own = f"{key}-{number % 6}"
        programs.append((own, random_program(choose, 0, own, counts)))
    before = {one: count(deployment, one[1], one[0]) for one in counts}
    with ThreadPoolExecutor(12) as threads:
        running = [
            threads.submit(deployment.call, "ObjectInterpreterL0/interpret", program, key=own)
            for own, program in programs
        ]
        assert [one_of.result() for one_of in running] == [None] * len(programs)
    for (layer, own), expected in counts.items():
        wait_for_count(deployment, own, before[layer, own] + expected, layer)
