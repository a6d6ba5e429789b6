"""AWS Lambda: an answer that is streamed, behind a function URL with the invoke mode RESPONSE_STREAM.

What fails after the first line reaches the caller in trailers, behind what was sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from perdure.aws_lambda import MetadataPrelude, StreamingResponse, main
from perdure.aws_lambda.http import HttpError, Request, http_service


async def countdown(start: int) -> AsyncIterator[bytes]:
    """Yield a line for each number."""
    for number in range(start, 0, -1):
        yield b"%d\n" % number
        await anyio.sleep(0.01)
    yield b"liftoff\n"


async def launch(request: Request) -> StreamingResponse:
    """Count down from the number in the query: `?from=3`."""
    [start] = request.query.get("from", ["3"])
    if not start.isdecimal():
        raise HttpError(400, f"{start!r} is no number to count down from")
    head = MetadataPrelude(headers={"content-type": "text/plain; charset=utf-8"})
    return StreamingResponse(countdown(int(start)), head)


service = http_service(launch)

if __name__ == "__main__":
    main(service)
