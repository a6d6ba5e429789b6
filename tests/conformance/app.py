"""The conformance services as one endpoint.

::

    hypercorn -k trio tests.conformance.app:app
    perdure serve tests.conformance.app:app

Environment: `SERVICES`, the names of the services to serve, separated by commas (all of them when it is unset, empty or
``*``); `E2E_REQUEST_SIGNING` or `E2E_REQUEST_SIGNING_ENV`, the public keys of the servers that may call.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from hypercorn.config import Config

from perdure import Endpoint, UsageError
from perdure.handlers.definitions import Definition
from tests.conformance.services.command_interpreter import command_interpreter
from tests.conformance.services.ending import (
    cancel_test_blocking_service,
    cancel_test_runner,
    kill_test_runner,
    kill_test_singleton,
)
from tests.conformance.services.failing import failing
from tests.conformance.services.non_deterministic import non_deterministic
from tests.conformance.services.object_interpreter import helper, layers
from tests.conformance.services.probes import probes
from tests.conformance.services.proxy import proxy
from tests.conformance.services.stores import counter, list_object, map_object
from tests.conformance.services.structure import ledger, structure
from tests.conformance.services.waiting import awakeable_holder, block_and_wait

__all__ = ["SERVICES", "app", "endpoint"]

SERVICES: dict[str, Definition] = {
    service.name: service
    for service in (
        counter,
        list_object,
        map_object,
        awakeable_holder,
        block_and_wait,
        failing,
        non_deterministic,
        cancel_test_runner,
        cancel_test_blocking_service,
        kill_test_runner,
        kill_test_singleton,
        proxy,
        probes,
        command_interpreter,
        *layers,
        helper,
        structure,
        ledger,
    )
}


def endpoint(environment: Mapping[str, str]) -> Endpoint:
    """Return the endpoint that these environment variables ask for.

    Raises:
        UsageError: a service is asked for that does not exist, or a key cannot be read.
    """
    return Endpoint(*_wanted(environment.get("SERVICES", "")), identity_keys=_keys(environment))


def _wanted(names: str) -> list[Definition]:
    chosen = _split(names)
    if chosen in ([], ["*"]):
        return list(SERVICES.values())
    unknown = [name for name in chosen if name not in SERVICES]
    if unknown:
        raise UsageError(f"SERVICES names {', '.join(unknown)}; there are {', '.join(SERVICES)}")
    return [SERVICES[name] for name in chosen]


def _keys(environment: Mapping[str, str]) -> list[str]:
    return _split(environment.get("E2E_REQUEST_SIGNING") or environment.get("E2E_REQUEST_SIGNING_ENV") or "")


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


# hypercorn's own command ends a connection after 1000 requests, and the answers that are under way on it are lost: the
# server waits for them until it pings. It also closes one that was idle for five seconds, perhaps just when a request
# is on its way. `perdure serve` does neither; an application under hypercorn sets it here, or in a file for `-c`.
Config.keep_alive_max_requests = sys.maxsize
Config.keep_alive_timeout = 900

app = endpoint(os.environ)
