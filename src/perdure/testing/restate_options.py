"""What can be chosen about a private restate-server, and how the server is told.

restate-server reads its configuration from a TOML file and from environment variables that spell the same keys:
``worker.invoker.inactivity-timeout`` is ``RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT``. The variables are used here.
The server ignores a key that it does not know, which would make a test of that key worthless; so keys that a test
writes itself are looked up in the configuration that the server says it has loaded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict

__all__ = ["RestateOptions", "Setting", "check_options", "environment", "missing_keys", "settings"]

Setting: TypeAlias = str | int | float | bool

DEFAULT_PARTITIONS: Final = 2


class RestateOptions(TypedDict, total=False):
    """Options of a private restate-server; every one may be left out."""

    always_suspend: bool
    """Close the request stream after the replayed journal: every wait suspends, every attempt is a replay."""
    lazy_state: bool
    """Send no state when an invocation starts; each read of a state key asks the server."""
    partitions: int
    """How many partitions (2, where the server's own default is 24; a start takes longer with more)."""
    protocol_v7: bool
    """Switch on version 7 of the service protocol, which is still experimental; without it 6 is the highest."""
    one_attempt: bool
    """Kill an invocation after its first failed attempt; by default it is tried 70 times and then paused."""
    identity_key: Path | bytes
    """A private ed25519 key (PKCS#8, PEM), as a file or its content; requests to endpoints are signed with it."""
    config: Mapping[str, Setting]
    """Further keys of the server's configuration file, dotted: ``{"worker.invoker.abort-timeout": "5s"}``."""
    env: Mapping[str, str]
    """Further environment variables of the server's process, such as ``AWS_ENDPOINT_URL_LAMBDA``."""


def check_options(options: Mapping[str, object]) -> None:
    """Refuse names that are no options; a marker or a parametrisation is not checked by a type checker.

    Raises:
        TypeError: an option is unknown.
    """
    unknown = options.keys() - RestateOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(RestateOptions.__annotations__))
        raise TypeError(f"no option of a private restate-server: {', '.join(sorted(unknown))} (there are: {known})")


def settings(options: RestateOptions, *, directory: Path) -> dict[str, Setting]:
    """Translate the options into keys of the server's configuration file.

    Args:
        options: what was chosen.
        directory: the server's own folder; a key given as content is written there.
    """
    chosen: dict[str, Setting] = {"default-num-partitions": options.get("partitions", DEFAULT_PARTITIONS)}
    if options.get("always_suspend"):
        chosen["worker.invoker.inactivity-timeout"] = "0s"
    if options.get("lazy_state"):
        chosen["worker.invoker.eager-state-size-limit"] = 0
    if options.get("protocol_v7"):
        chosen["experimental-enable-protocol-v7"] = True
    if options.get("one_attempt"):
        chosen["default-retry-policy.max-attempts"] = 1
        chosen["default-retry-policy.on-max-attempts"] = "kill"
    if key := options.get("identity_key"):
        if isinstance(key, bytes):
            path = directory / "identity.pem"
            path.touch(mode=0o600)
            path.write_bytes(key)
        else:
            path = key
        chosen["worker.invoker.request-identity-private-key-pem-file"] = str(path)
    chosen.update(options.get("config", {}))
    return chosen


def environment(chosen: Mapping[str, Setting]) -> dict[str, str]:
    """Write keys of the configuration file as the environment variables that mean the same."""
    return {
        "RESTATE_" + key.upper().replace(".", "__").replace("-", "_"): (
            str(value).lower() if isinstance(value, bool) else str(value)
        )
        for key, value in chosen.items()
    }


def missing_keys(wanted: Mapping[str, Setting], dumped: str) -> list[str]:
    """Return the wanted keys that a dumped configuration does not hold; one that is false may be left out there."""
    loaded = tomllib.loads(dumped)

    def holds(key: str) -> bool:
        node: Any = loaded
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True

    return [key for key, value in wanted.items() if value is not False and not holds(key)]
