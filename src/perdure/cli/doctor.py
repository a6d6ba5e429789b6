"""``perdure doctor FILE``: is the file of an engine well?

Reads all of it and changes nothing; an engine may have it open. Exit code 0 when nothing is wrong, 1 when something is
or when the file cannot be read at all.
"""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Final

import msgspec

from perdure.engine.storage.doctor import Examination, examine

__all__ = ["add_arguments", "run"]

_SICK: Final = 1
_MEGABYTE: Final = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument("file", metavar="FILE", help="the file of an engine")
    parser.add_argument("--json", action="store_true", help="print what was found as a JSON object, and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    found = examine(arguments.file)
    if arguments.json:
        print(msgspec.json.encode(found).decode())
    else:
        print("\n".join(_lines(found)))
    return _SICK if found.findings else 0


def _lines(found: Examination) -> list[str]:
    by_status = ", ".join(f"{count} {status}" for status, count in found.invocations.items())
    timers = f"{found.timers}"
    if found.timers:
        first = dt.datetime.fromtimestamp(found.next_timer / 1000, tz=dt.UTC)
        timers += f", the first due at {first:%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        found.path,
        f"  schema       version {found.version}",
        f"  closed       {'yes' if found.clean else 'no: an engine has it open, or ended without closing it'}",
        f"  size         {found.size / _MEGABYTE:.1f} MB, {found.free / _MEGABYTE:.1f} MB of it free",
        f"  invocations  {by_status or 'none'}",
        f"  entries      {found.entries}",
        f"  timers       {timers}",
        f"  work         {found.work}",
    ]
    lines += [f"  WRONG        {finding}" for finding in found.findings]
    return [*lines, "  nothing is wrong"] if not found.findings else lines
