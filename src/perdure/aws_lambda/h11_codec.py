"""HTTP/1.1 as h11 speaks it, without I/O: for every exchange that is not of the usual, small kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import h11

from perdure.aws_lambda.plain_answer import Http1Response

__all__ = ["CutOffError", "H11Codec", "NoAnswerError"]

HEAD_SIZE: Final = 1024 * 1024
"""Bytes that the head of an answer may have: the client context and the trace header travel in it."""

_DONE: Final = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}


class NoAnswerError(Exception):
    """What came is no HTTP answer."""


class CutOffError(Exception):
    """The peer ended the connection before its answer was complete.

    Attributes:
        answered: whether a part of an answer came.
    """

    def __init__(self, *, answered: bool) -> None:
        super().__init__()
        self.answered = answered


class H11Codec:
    """Both directions of one connection."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_SIZE)
        self._ended = False
        self._head: h11.Response | None = None
        self._body: list[bytes] = []

    def begin(self, method: str, target: str, fields: Sequence[tuple[str, str]]) -> bytes:
        """Begin a request; returns what is to be sent."""
        self._head = None
        self._body = []
        return self._http.send(h11.Request(method=method, target=target, headers=list(fields))) or b""

    def data(self, piece: bytes) -> bytes:
        """A piece of the body; returns what is to be sent."""
        return self._http.send(h11.Data(data=piece)) or b""

    def end(self, trailers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
        """End the request; returns what is to be sent."""
        return self._http.send(h11.EndOfMessage(headers=list(trailers))) or b""

    @property
    def answered(self) -> bool:
        """Whether a part of the answer came."""
        return self._head is not None

    def feed(self, data: bytes) -> None:
        """Take what came; nothing means the end of the connection, which may be the end of an answer."""
        self._http.receive_data(data)
        self._ended = not data

    def answer(self) -> Http1Response | None:
        """The answer, or `None` when more has to come.

        Raises:
            NoAnswerError: it is none.
            CutOffError: the connection ended before.
        """
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                if self._ended:
                    raise CutOffError(answered=self.answered) from exc
                raise NoAnswerError(str(exc)) from exc
            if event is h11.NEED_DATA:
                return None
            if isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert self._head is not None
                headers = {name.decode("ascii"): _text(value) for name, value in self._head.headers}
                return Http1Response(self._head.status_code, headers, b"".join(self._body))
            # else: an interim response, which says nothing

    def next_cycle(self) -> bool:
        """Make ready for the next exchange; false when the connection cannot carry one."""
        if self._http.states != _DONE or any(self._http.trailing_data):
            return False
        self._http.start_next_cycle()
        return True


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
