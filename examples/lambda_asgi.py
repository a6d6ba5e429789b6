"""AWS Lambda: an ASGI application (Starlette here) behind API Gateway, a function URL or a load balancer.

Its lifespan is entered once, when the sandbox starts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perdure.aws_lambda import main
from perdure.aws_lambda.http import asgi_service


class State(TypedDict):
    """What lasts as long as the sandbox."""

    books: dict[str, str]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    """Open what all requests share."""
    del app
    yield {"books": {"1": "Momo"}}


async def read(request: Request) -> Response:
    """Answer with one book."""
    title = request.state.books.get(request.path_params["number"])
    if title is None:
        return JSONResponse({"message": "no such book"}, status_code=404)
    return JSONResponse({"title": title, "url": str(request.url)})


async def add(request: Request) -> Response:
    """Take a book."""
    book = await request.json()
    request.state.books[request.path_params["number"]] = book["title"]
    return Response(status_code=204)


app = Starlette(
    routes=[Route("/books/{number}", read), Route("/books/{number}", add, methods=["PUT"])], lifespan=lifespan
)
service = asgi_service(app)

if __name__ == "__main__":
    main(service)
