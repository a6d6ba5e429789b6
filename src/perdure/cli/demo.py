"""``perdure demo``: an order on a real restate-server, and ``kill -9`` in the middle of it.

Starts a private restate-server and, in a process of its own, the checkout example; sends an order; kills the service
while it packs; starts it again; shows that the order finishes and what ran how often. Everything ends with the command.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from perdure.testing.endpoint_process import EndpointProcess
from perdure.testing.loopback import free_ports
from perdure.testing.restate_binary import NPM_PACKAGE, VERSION, find_binary, install_binary
from perdure.testing.restate_process import RestateServer

__all__ = ["add_arguments", "run"]

PACE: Final = 0.4
"""Seconds that a step of the example takes, so that one can watch."""

_PERDURE: Final = (sys.executable, "-m", "perdure.cli")

PATIENCE: Final = 60.0
"""Seconds until something that should happen is given up."""

ORDER: Final[dict[str, object]] = {
    "id": "1001",
    "items": [{"name": "tea", "count": 2, "price": 4.5}, {"name": "cup", "count": 1, "price": 18.5}],
    "card": "4242",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument(
        "--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop of the service"
    )
    parser.add_argument("--json", action="store_true", help="print what happened as a JSON object, and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and return its exit code: 0 when the order finished."""
    story = _Story(quiet=arguments.json)
    outcome = _tell(story, arguments.backend)
    if arguments.json:
        print(json.dumps(outcome))
    return 0


class _Story:
    """Prints what happens, with the time it happens at."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._began = time.monotonic()
        self._color = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def say(self, what: str, detail: str = "", *, strong: bool = False) -> None:
        """One line: what happened, and a detail."""
        if self._quiet:
            return
        if strong and self._color:
            what = f"\033[1m{what}\033[0m" + " " * max(0, 24 - len(what))
        print(f"{time.monotonic() - self._began:6.1f} s  {what:<24} {detail}".rstrip(), flush=True)

    def line(self, text: str = "") -> None:
        """A line without a time."""
        if not self._quiet:
            print(text, flush=True)


def _example() -> Path:
    """The checkout example: packed into the wheel, or in the source tree."""
    packed = Path(__file__).parent / "_checkout_example.py"
    return packed if packed.exists() else Path(__file__).parents[3] / "examples" / "checkout.py"


def _tell(story: _Story, backend: str) -> dict[str, Any]:
    story.line("perdure demo: an order, and a crash in the middle of it")
    story.line()
    if find_binary() is None:
        story.say("installing", f"{NPM_PACKAGE} {VERSION} (about 80 MB, once)")
        install_binary()
    with tempfile.TemporaryDirectory(prefix="perdure-demo-") as name, RestateServer() as server:
        folder = Path(name)
        story.say("restate-server is up", server.ingress_url)
        ledger = folder / "ledger.txt"
        ledger.touch()
        example = _example()
        (folder / "checkout_demo.py").write_text(example.read_text(encoding="utf-8"), encoding="utf-8")
        [port] = free_ports(1)
        service = EndpointProcess(
            [
                sys.executable,
                "-m",
                "perdure.cli",
                "serve",
                "checkout_demo:app",
                "--backend",
                backend,
                "--port",
                str(port),
            ],
            port=port,
            env={"CHECKOUT_LEDGER": str(ledger), "CHECKOUT_PACE": str(PACE)},
            cwd=folder,
        )
        try:
            return _crash(story, server, service, ledger)
        finally:
            service.stop()


def _crash(story: _Story, server: RestateServer, service: EndpointProcess, ledger: Path) -> dict[str, Any]:
    service.start()
    story.say("service is up", f"process {service.pid}")
    server.register(service.url)
    server.wait_until_callable("/Stock/tea/remaining")
    story.say("order sent", json.dumps(ORDER), strong=True)
    answer: dict[str, Any] = {}
    caller = threading.Thread(target=_order, args=(server, answer), daemon=True)
    caller.start()
    seen = _follow(story, ledger, 0, until="pack 1001 begins")
    time.sleep(PACE)  # in the middle of packing
    killed = service.pid
    service.kill()
    story.say(f"kill -9 {killed}", "reserved, charged, half packed: and the service is gone", strong=True)
    service.start()
    story.say("service is up again", f"process {service.pid}")
    _follow(story, ledger, seen, until="ship parcel-1001")
    caller.join(PATIENCE)
    if "result" not in answer:
        raise answer.get("error", TimeoutError(f"the order did not finish within {PATIENCE:.0f} s"))
    story.say("order finished", json.dumps(answer["result"]), strong=True)
    story.line()
    ran = Counter(ledger.read_text(encoding="utf-8").splitlines())
    story.line("what really happened, and how often:")
    for what, times in ran.items():
        story.line(f"    {times} x  {what}")
    story.line()
    story.line(
        "The step that the crash interrupted was begun again. What was done before stayed done: its results were in"
    )
    story.line("the journal, and the handler, a plain async function, was replayed up to them.")
    return {"order": answer["result"], "killed": killed, "ran": dict(ran)}


def _order(server: RestateServer, answer: dict[str, Any]) -> None:
    try:
        reply = server.call("/Shop/checkout", json.dumps(ORDER).encode(), timeout=PATIENCE)
        answer["result"] = json.loads(reply.body)
    except Exception as error:  # noqa: BLE001 - told by the thread that waits for the answer
        answer["error"] = error


def _follow(story: _Story, ledger: Path, seen: int, *, until: str) -> int:
    """Show what the service writes down, until it writes `until`; returns how many lines were shown."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        lines = ledger.read_text(encoding="utf-8").splitlines()
        for line in lines[seen:]:
            story.say("", f"| {line}")
        seen = len(lines)
        if until in lines:
            return seen
        time.sleep(0.02)
    raise TimeoutError(f"the service did not come to {until!r} within {PATIENCE:.0f} s")
