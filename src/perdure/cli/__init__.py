"""The command line: ``perdure <command>``, one module of this folder for each command.

The table below names every command. A command's module is imported only when that command is asked for, so
``perdure --help`` and each command start fast and a command that needs an optional dependency does not trouble the
others. Such a module has two functions: ``add_arguments(parser)`` and ``run(arguments) -> int``, the exit code.

Exit codes: 0 done, 1 failed (an error of perdure's own is printed as one line, anything else is a bug and shows its
traceback), 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, cast

__all__ = ["COMMANDS", "Command", "main"]

FAILED: Final = 1
INTERRUPTED: Final = 130


class Command(NamedTuple):
    """A command: the module of this folder that has it, and what it does in a line."""

    module: str
    help: str


COMMANDS: Final[dict[str, Command]] = {
    "demo": Command("demo", "run an order on a real restate-server, and kill the service in the middle of it"),
    "doctor": Command("doctor", "check the file of an embedded engine; change nothing"),
    "run": Command("run", "run an endpoint's services on the embedded engine, with its ingress and admin port"),
    "serve": Command("serve", "serve an ASGI application over HTTP/2 and HTTP/1.1, on asyncio or trio"),
    "restate-server": Command("restate_server", "install, find or run the restate-server that perdure is tested with"),
}


class _CommandModule(Protocol):
    """What a module of this folder offers."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments without the program's name; None takes those of this process.

    Raises:
        SystemExit: from argparse, after ``--help``, ``--version`` or wrong arguments.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser, modules = _parser(arguments)
    chosen = parser.parse_args(arguments)
    try:
        return modules[chosen.command].run(chosen)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from perdure.exceptions import PerdureError  # noqa: PLC0415 (only a failure needs it)

        if not isinstance(error, PerdureError):
            raise
        print(f"perdure {chosen.command}: {error}", file=sys.stderr)
        return FAILED


def _parser(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, dict[str, _CommandModule]]:
    """Make the parser of all commands, complete for the one that the arguments name."""
    parser = argparse.ArgumentParser(
        prog="perdure", description="Durable execution for trio and anyio.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, help="print perdure's version and exit")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="<command>", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    modules: dict[str, _CommandModule] = {}
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=command.help, description=_sentence(command.help), allow_abbrev=False
        )
        if name == asked:
            modules[name] = cast("_CommandModule", importlib.import_module(f"{__name__}.{command.module}"))
            modules[name].add_arguments(subparser)
    return parser, modules


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


class _Version(argparse.Action):
    """Print the version; it is looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002 (argparse's name)
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 (takes longer than all the rest)

        print(f"perdure {version('perdure')}")
        parser.exit()
