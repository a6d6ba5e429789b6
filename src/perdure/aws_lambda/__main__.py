"""A bootstrap without code of its own: ``python -m perdure.aws_lambda`` serves what `_HANDLER` names."""

from __future__ import annotations

import argparse

from perdure.aws_lambda.runtime import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m perdure.aws_lambda", description=main.__doc__)
    parser.add_argument("handler", nargs="?", help="module.function; what the variable _HANDLER names otherwise")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop")
    options = parser.parse_args()
    main(options.handler, backend=options.backend)
