"""AWS Lambda: an extension in the process of the function, which sends what it counted after each answer.

The platform waits for it before it freezes the sandbox, and the caller does not.
"""

from __future__ import annotations

from typing import Any

from perdure.aws_lambda import LambdaEvent, main
from perdure.aws_lambda.extensions import FlushExtension, with_extensions

counted: list[str] = []


async def flush() -> None:
    """Send what was counted; a print stands for the network here."""
    print(f"sent {len(counted)} counts")
    counted.clear()


async def handler(event: LambdaEvent[dict[str, Any]]) -> str:
    """Count an invocation."""
    counted.append(event.context.request_id)
    return "counted"


service = with_extensions(handler, FlushExtension(flush))

if __name__ == "__main__":
    main(service)
