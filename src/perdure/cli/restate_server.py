"""``perdure restate-server``: the program that tests and the demo run on.

``install`` finds it or downloads it and prints its path; ``path`` prints the path and downloads nothing; ``run`` runs
it in the foreground with the arguments behind ``--``, its data in ``restate-data`` in the current folder unless the
server is told otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Final, NoReturn

from perdure.testing.restate_binary import NPM_PACKAGE, VERSION, Binary, find_binary, install_binary

__all__ = ["add_arguments", "run"]

NOT_HERE: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="<action>", required=True)
    install = actions.add_parser("install", help=f"find restate-server or install {VERSION} from npm; print its path")
    path = actions.add_parser("path", help="print the path of restate-server; install nothing")
    for action in (install, path):
        action.add_argument("--json", action="store_true", help="print a JSON object")
    start = actions.add_parser("run", help="run restate-server in the foreground, installing it if it is missing")
    start.add_argument("arguments", nargs="*", metavar="-- arguments", help="handed on to restate-server")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if arguments.action == "run":
        _become(_install(), arguments.arguments)
    found = _install() if arguments.action == "install" else find_binary()
    if found is None:
        print("restate-server is not installed; `perdure restate-server install` installs it", file=sys.stderr)
        return NOT_HERE
    if arguments.json:
        version = VERSION if found.source == "cache" else None
        print(json.dumps({"path": str(found.path), "source": found.source, "version": version}))
    else:
        print(found.path)
    return 0


def _become(binary: Binary, arguments: Sequence[str]) -> NoReturn:
    """Put restate-server in the place of this process, so that signals and the exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(binary.path, [str(binary.path), *arguments])  # noqa: S606 (a list, no shell)


def _install() -> Binary:
    """Install with one line of progress on standard error; npm's own words are shown only when it fails."""
    if found := find_binary():
        return found
    print(f"installing {NPM_PACKAGE} {VERSION} (about 80 MB, once) ...", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        binary = install_binary()
    except BaseException:
        print(file=sys.stderr)
        raise
    print(f" done in {time.monotonic() - began:.1f} s", file=sys.stderr)
    return binary
