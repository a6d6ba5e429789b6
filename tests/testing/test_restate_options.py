"""Options of a private restate-server, checked against what the real program says it has loaded."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.restate_binary import install_binary
from perdure.testing.restate_options import RestateOptions, Setting, check_options, environment, missing_keys, settings


def loaded(options: RestateOptions, directory: Path) -> dict[str, Any]:
    """Return the configuration that restate-server loads for these options."""
    env = os.environ | environment(settings(options, directory=directory))
    program = install_binary().path
    dump = subprocess.run([program, "--dump-config"], env=env, capture_output=True, text=True, check=True)
    return tomllib.loads(dump.stdout)


@pytest.mark.real_server
class TestTheServerLoads:
    """What an option does to the configuration of the real server."""

    def test_few_partitions_when_nothing_is_chosen(self, tmp_path: Path) -> None:
        assert loaded({}, tmp_path)["default-num-partitions"] == 2

    def test_the_chosen_number_of_partitions(self, tmp_path: Path) -> None:
        assert loaded({"partitions": 1}, tmp_path)["default-num-partitions"] == 1

    def test_no_inactivity_timeout_for_always_suspend(self, tmp_path: Path) -> None:
        assert loaded({"always_suspend": True}, tmp_path)["worker"]["invoker"]["inactivity-timeout"] == "0s"

    def test_no_eager_state_for_lazy_state(self, tmp_path: Path) -> None:
        assert loaded({"lazy_state": True}, tmp_path)["worker"]["invoker"]["eager-state-size-limit"] == "0 B"

    def test_protocol_7_only_when_asked(self, tmp_path: Path) -> None:
        assert loaded({"protocol_v7": True}, tmp_path)["experimental-enable-protocol-v7"] is True
        assert "experimental-enable-protocol-v7" not in loaded({}, tmp_path)

    def test_killing_after_one_attempt(self, tmp_path: Path) -> None:
        policy = loaded({"one_attempt": True}, tmp_path)["default-retry-policy"]
        assert (policy["max-attempts"], policy["on-max-attempts"]) == (1, "kill")

    def test_the_key_that_requests_are_signed_with(self, tmp_path: Path) -> None:
        path = loaded({"identity_key": b"content"}, tmp_path)["worker"]["invoker"][
            "request-identity-private-key-pem-file"
        ]
        assert Path(path).read_bytes() == b"content"
        assert Path(path).stat().st_mode & 0o077 == 0

    def test_any_key_of_its_configuration_file(self, tmp_path: Path) -> None:
        options: RestateOptions = {"config": {"worker.invoker.abort-timeout": "5s", "admin.disable-web-ui": True}}
        configuration = loaded(options, tmp_path)
        assert configuration["worker"]["invoker"]["abort-timeout"] == "5s"
        assert configuration["admin"]["disable-web-ui"] is True


def test_a_key_written_by_hand_wins_over_an_option(tmp_path: Path) -> None:
    options: RestateOptions = {"partitions": 1, "config": {"default-num-partitions": 3}}
    assert settings(options, directory=tmp_path)["default-num-partitions"] == 3


def test_an_identity_key_in_a_file_is_used_where_it_is(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    chosen = settings({"identity_key": key}, directory=tmp_path / "elsewhere")
    assert chosen["worker.invoker.request-identity-private-key-pem-file"] == str(key)


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"no option of a private restate-server: partition .*partitions"):
        check_options({"partition": 1})


def test_keys_that_a_dump_does_not_hold_are_missing() -> None:
    wanted: dict[str, Setting] = {"a.b": 1, "a.c": True, "a.d": False, "e.f": "x"}
    assert missing_keys(wanted, "[a]\nb = 1\n[e]\n") == ["a.c", "e.f"]
