"""The settings `perdure serve` runs with, each with its reason beside it.

hypercorn's defaults suit browsers: short requests, many clients, idle connections to be rid of. The peer of a durable
endpoint is one restate-server that holds a few connections open for days, runs hundreds of long two-way streams on
each, and retries an invocation whenever a connection dies under it. So nothing here ends a connection that works, and
every buffer a peer can fill has a bound.

`Settings.explain` gives the table as data; the command line and the documentation print it from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple, TypeVar

__all__ = ["Explanation", "Settings"]

KIB: Final = 1024
MIB: Final = 1024 * KIB

_T = TypeVar("_T")


def _because(default: _T, unit: str, reason: str) -> _T:
    """A field with its unit and its reason as metadata."""
    return field(default=default, metadata={"unit": unit, "reason": reason})


class Explanation(NamedTuple):
    """One line of the table of settings."""

    name: str
    value: float
    unit: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and timeouts of the server. The defaults are vetted: change one only with a reason at least as good."""

    max_streams: int = _because(
        900,
        "requests",
        "Requests in progress on one HTTP/2 connection; one more is refused on its own (REFUSED_STREAM, safe to send "
        "again). hypercorn's 100 makes restate-server queue, and its 1001st stream ends the connection.",
    )
    stream_window: int = _because(
        1 * MIB,
        "bytes",
        "What a peer may send on one stream ahead of the application. With HTTP/2's own 65535 a journal of some "
        "megabytes costs a round trip for each 64 KiB. It is also all that an application that does not read can hold.",
    )
    connection_window: int = _because(
        64 * MIB,
        "bytes",
        "What a peer may send on one connection ahead of all applications: the bound on memory, and room for 64 "
        "streams nobody reads before their connection stands still.",
    )
    max_frame: int = _because(
        64 * KIB,
        "bytes",
        "Largest HTTP/2 frame that is accepted. A frame costs the same at any size, so large journals arrive faster in "
        "frames larger than HTTP/2's 16 KiB.",
    )
    max_headers: int = _because(64 * KIB, "bytes", "Largest header list of one request, HTTP/1.1 and HTTP/2.")
    stream_buffer: int = _because(
        64 * KIB,
        "bytes",
        "What an application may be ahead of its peer on one response; then `send` waits.",
    )
    connection_buffer: int = _because(
        1 * MIB,
        "bytes",
        "Frames that wait for a peer that does not read; then nothing more is read from it, so that PING or SETTINGS "
        "floods cannot fill memory with their answers.",
    )
    idle_timeout: float = _because(
        900.0,
        "seconds",
        "A connection without a request is closed after this, with GOAWAY. restate-server drops idle ones after five "
        "minutes; the side that is asked must not be the first, or a request meets a connection that closes.",
    )
    lingering_streams: int = _because(
        100,
        "streams",
        "Answered requests whose peer has not ended its side yet. The oldest is reset (NO_ERROR) when there are more: "
        "a peer that never ends its side cannot pile them up.",
    )
    remembered_streams: int = _because(
        4096,
        "streams",
        "Closed streams that h2 remembers for each connection, to judge frames that come late. Its own 65536 cost "
        "megabytes on connections that live for days.",
    )
    backlog: int = _because(
        1024, "connections", "Connections that wait to be accepted. restate-server opens many at once after a restart."
    )
    startup_timeout: float = _because(60.0, "seconds", "The application's lifespan must have started within this.")
    shutdown_timeout: float = _because(
        10.0, "seconds", "The application's lifespan must have ended within this, after the last connection."
    )

    @classmethod
    def explain(cls) -> Iterator[Explanation]:
        """The defaults with their units and reasons, in the order they stand here."""
        defaults = cls()
        for entry in fields(cls):
            value: float = getattr(defaults, entry.name)
            yield Explanation(entry.name, value, entry.metadata["unit"], entry.metadata["reason"])
