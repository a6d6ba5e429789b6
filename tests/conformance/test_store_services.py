"""Counter, ListObject and MapObject on a real server."""

from __future__ import annotations

import pytest

from tests.conformance.deployment import CallFailedError, Deployment


def test_a_counter_that_nobody_touched_is_zero(deployment: Deployment, key: str) -> None:
    assert deployment.call("Counter/get", key=key) == 0


def test_a_counter_tells_the_old_and_the_new_value(deployment: Deployment, key: str) -> None:
    assert deployment.call("Counter/add", 5, key=key) == {"oldValue": 0, "newValue": 5}
    assert deployment.call("Counter/add", -7, key=key) == {"oldValue": 5, "newValue": -2}
    assert deployment.call("Counter/get", key=key) == -2


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_a_counter_holds_64_bits(deployment: Deployment, key: str, value: int) -> None:
    assert deployment.call("Counter/add", value, key=key)["newValue"] == value
    assert deployment.call("Counter/get", key=key) == value


def test_what_was_stored_before_a_failure_stays(deployment: Deployment, key: str) -> None:
    with pytest.raises(CallFailedError) as failed:
        deployment.call("Counter/addThenFail", 3, key=key)
    assert (failed.value.status, failed.value.message) == (500, key)
    assert deployment.call("Counter/get", key=key) == 3


def test_a_counter_is_reset(deployment: Deployment, key: str) -> None:
    deployment.call("Counter/add", 3, key=key)
    assert deployment.call("Counter/reset", key=key) is None
    assert deployment.call("Counter/get", key=key) == 0


def test_a_counter_keeps_a_json_number_in_its_state(deployment: Deployment, key: str) -> None:
    deployment.call("Counter/add", 42, key=key)
    assert stored(deployment, "Counter", key) == {"counter": "42"}
    deployment.call("Counter/reset", key=key)
    assert stored(deployment, "Counter", key) == {}


def test_a_list_without_items_is_empty(deployment: Deployment, key: str) -> None:
    assert deployment.call("ListObject/get", key=key) == []
    assert deployment.call("ListObject/clear", key=key) == []


def test_a_list_gives_its_items_back_in_order_and_forgets_them(deployment: Deployment, key: str) -> None:
    for item in ("one", "", "zwei ü \U0001f600"):
        assert deployment.call("ListObject/append", item, key=key) is None
    assert stored(deployment, "ListObject", key) == {"list": '["one","","zwei ü \U0001f600"]'}
    assert deployment.call("ListObject/get", key=key) == ["one", "", "zwei ü \U0001f600"]
    assert deployment.call("ListObject/clear", key=key) == ["one", "", "zwei ü \U0001f600"]
    assert deployment.call("ListObject/get", key=key) == []
    assert stored(deployment, "ListObject", key) == {}


def test_a_map_gives_an_empty_string_for_what_it_does_not_hold(deployment: Deployment, key: str) -> None:
    assert deployment.call("MapObject/get", "absent", key=key) == ""
    assert deployment.call("MapObject/clearAll", key=key) == []


def test_every_entry_of_a_map_is_a_state_key_of_its_own(deployment: Deployment, key: str) -> None:
    entries = {"a": "1", "b b/ü": "", "c": "\U0001f600", "": "no name"}
    for name, value in entries.items():
        assert deployment.call("MapObject/set", {"key": name, "value": value}, key=key) is None
    assert stored(deployment, "MapObject", key) == {"a": '"1"', "b b/ü": '""', "c": '"\U0001f600"', "": '"no name"'}
    for name, value in entries.items():
        assert deployment.call("MapObject/get", name, key=key) == value


def test_a_map_gives_all_entries_back_and_forgets_them(deployment: Deployment, key: str) -> None:
    entries = {f"k{number}": f"v{number}" for number in range(20)}
    for name, value in entries.items():
        deployment.call("MapObject/set", {"key": name, "value": value}, key=key)
    taken = deployment.call("MapObject/clearAll", key=key)
    assert {entry["key"]: entry["value"] for entry in taken} == entries
    assert len(taken) == len(entries)
    assert deployment.call("MapObject/get", "k3", key=key) == ""
    assert deployment.call("MapObject/clearAll", key=key) == []


def stored(deployment: Deployment, service: str, key: str) -> dict[str, str]:
    """The state of one key, as the server holds it."""
    rows = deployment.server.query(
        f"SELECT key, value FROM state WHERE service_name = '{service}' AND service_key = '{key}'"
    )
    return {row["key"]: bytes.fromhex(row["value"]).decode() for row in rows}
