"""What an answer of the ingress means when it is no result.

Since 1.7 the header `x-restate-error-source` says who speaks: `invocation` is the terminal failure of the handler,
`ingress` is the server. The header decides before the status does, because a handler chooses its code freely. Older
servers do not send it; there the `source` of the body decides, and then the header `x-restate-id`, which they put on
answers of an invocation and not on their own refusals.
"""

from __future__ import annotations

from typing import Final

import msgspec

from perdure.client.connection import Response
from perdure.exceptions import IngressError, TerminalError

__all__ = ["INVOCATION_ID", "ambiguous", "failure_of", "not_ready"]

ERROR_SOURCE: Final = "x-restate-error-source"
INVOCATION_ID: Final = "x-restate-id"

STORED: Final = "idempotency-expires"

NOT_FOUND: Final = 404
NOT_READY: Final = 470
"""The output was asked for and the invocation is not complete."""

WITHOUT_SOURCE: Final = frozenset({413, 429})
"""What the server's outer layers answer, in plain text and without the header; anybody else means the same by it."""

LONGEST_QUOTE: Final = 500
"""Characters of a body that is quoted in a message because it is no JSON."""


class Failure(msgspec.Struct, frozen=True):
    """The body of a failure; everything in it may be missing when something other than Restate answered."""

    message: str | None = None
    code: int | None = None
    metadata: dict[str, str] | None = None
    source: str | None = None


_decode_failure: Final = msgspec.json.Decoder(Failure).decode


def failure_of(response: Response, *, url: str, asked: str) -> TerminalError | IngressError | None:
    """The error that an answer stands for, `None` when it is a result.

    Args:
        response: the answer.
        url: who answered.
        asked: what was asked, as in `call Counter/add`.
    """
    source = response.headers.get(ERROR_SOURCE)
    if source is None and response.status < 300:  # noqa: PLR2004 - HTTP's own border
        return None
    failure = _failure(response.body)
    source = source or failure.source or ("invocation" if INVOCATION_ID in response.headers else None)
    if source == "invocation":
        message = _quote(response.body) if failure.message is None else failure.message
        code = response.status if failure.code is None else failure.code
        return TerminalError(message, code=code, metadata=failure.metadata)
    return IngressError(
        _explain(response, failure, url=url, asked=asked, known=_known(response, failure)),
        status=response.status,
        invocation_id=response.headers.get(INVOCATION_ID),
    )


def not_ready(response: Response) -> bool:
    """Whether an answer says that the invocation is not complete (and not that it failed with just this code)."""
    return response.status == NOT_READY and response.headers.get(ERROR_SOURCE, "ingress") == "ingress"


def ambiguous(response: Response) -> bool:
    """Whether an answer to an attach may mean that there is no such invocation.

    restate-server 1.7 then answers as if the invocation had failed with 404 "not found", which a handler may do as
    well; only when it answers from a stored result does it say how long that is kept. Its answer to `output` is clear.
    """
    if response.status != NOT_FOUND or STORED in response.headers:
        return False
    failure = _failure(response.body)
    return (failure.message, failure.metadata) == ("not found", None)


def _known(response: Response, failure: Failure) -> bool:
    """Whether an ingress speaks here."""
    return ERROR_SOURCE in response.headers or failure.message is not None or response.status in WITHOUT_SOURCE


def _failure(body: bytes) -> Failure:
    try:
        return _decode_failure(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Failure()


def _quote(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "..."


def _explain(response: Response, failure: Failure, *, url: str, asked: str, known: bool) -> str:
    said = failure.message or _quote(response.body) or "no reason given"
    lead = f"{url} did not {asked}: {response.status}, {said}"
    if 300 <= response.status < 400:  # noqa: PLR2004 - HTTP's own borders
        place = response.headers.get("location", "nowhere")
        return f"{lead}. It redirects to {place}; give the client the address of the ingress itself"
    if not known:
        return f"{lead}. This is not how a Restate ingress answers: is {url} the address of the ingress, port 8080?"
    return f"{lead.rstrip('.')}. {_advice(response.status, said)}"


def _advice(status: int, said: str) -> str:
    for fragment, advice in BY_MESSAGE.items():
        if fragment in said:
            return advice
    return BY_STATUS.get(status, "The request is at fault" if status < 500 else "The server is at fault")  # noqa: PLR2004 - HTTP's own border


BY_MESSAGE: Final[dict[str, str]] = {
    "is not public": "Only other handlers may call it; call one of those, or register it without ingress_private",
    "vqueues": "Scopes and limit keys need a server with the vqueues feature: RESTATE_EXPERIMENTAL_ENABLE_VQUEUES=true",
    "invocation not found": "It was never accepted here, or its retention is over",
}
"""Where the server's own words say what is wrong more closely than the status."""

BY_STATUS: Final[dict[int, str]] = {
    400: "The request is at fault: it does not fit what the service was registered with",
    404: "Register the deployment that serves it, or correct the name",
    405: "The request is at fault: the server does not know this operation; it may be too old for it",
    413: "The value is too large for the ingress (32 MiB unless configured): pass a reference to it instead",
    415: "The request is at fault: the handler takes another content type",
    429: "The server is overloaded and has accepted nothing; try again later",
    470: "The invocation is not complete; attach to wait for it",
    503: "The server may or may not have accepted this; what only reads or has an idempotency key may be repeated",
}
