"""A bootstrap without code of its own: ``python -m perdure.aws_lambda`` serves what `_HANDLER` names."""

from __future__ import annotations

import sys

from perdure.aws_lambda.runtime import main


def start() -> None:
    """Read the command line, and serve."""
    match sys.argv[1:]:  # what a bootstrap says; a function should not wait for a parser of command lines
        case []:
            main()
        case [handler, "--backend", ("asyncio" | "trio") as backend] if not handler.startswith("-"):
            main(handler, backend=backend)
        case _:
            _parse()


def _parse() -> None:
    import argparse  # noqa: PLC0415 - see above

    parser = argparse.ArgumentParser(
        prog="python -m perdure.aws_lambda", description="Serve a handler on AWS Lambda: be the runtime of a function."
    )
    parser.add_argument("handler", nargs="?", help="module.function; what the variable _HANDLER names otherwise")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop")
    options = parser.parse_args()
    main(options.handler, backend=options.backend)


if __name__ == "__main__":
    start()
