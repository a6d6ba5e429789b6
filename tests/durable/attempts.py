"""One attempt of a handler against a runtime that a test plays by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from perdure import Service
from perdure.durable.clock import Clock
from perdure.durable.driver import Driver, End
from perdure.durable.transport import Disconnected
from perdure.handlers.attempt import run_attempt
from perdure.handlers.environment import Environment
from perdure.handlers.middleware import Middleware
from perdure.handlers.registry import Registry
from perdure.machine.invocation import Invocation
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.messages import CANCEL_SIGNAL, Message, OutputCommand, SignalNotification, Value, Void
from perdure.wire.versions import ProtocolVersion
from tests.machine.peers import V5, V6, V7, journal_of

__all__ = ["CANCEL", "V5", "V6", "V7", "Attempt", "Peer", "StandingClock", "attempt", "ticks"]

M = TypeVar("M", bound=Message)
CANCEL = SignalNotification(CANCEL_SIGNAL, Void())
Handler = Callable[..., Coroutine[Any, Any, Any]]


async def ticks(count: int = 30) -> None:
    """Let everything happen that can happen without input."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


class StandingClock:
    """A clock that moves only when somebody sleeps on it, and remembers for how long."""

    def __init__(self, time: float = 1_000.0) -> None:
        self.time = time
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await anyio.lowlevel.checkpoint()


class Peer:
    """The runtime: tells what the test says, and remembers what the handler sent, turn by turn.

    Args:
        entries: the journal behind the input.
        start: more fields of the start message.
    """

    def __init__(self, *entries: Message, **start: Any) -> None:
        self.turns: list[list[Message]] = []
        self.receives = 0
        self.blocked = False
        self._inbox: deque[Message] = deque(journal_of(*entries, **start))
        self._seen = 0
        self._closed = False
        self._told_end = False
        self._gone = False
        self._change = anyio.Event()

    # --- what the test does

    def tells(self, *messages: Message) -> None:
        """Send messages to the handler, in one piece with what it has not read yet."""
        self._inbox.extend(messages)
        self._changed()

    def closes(self) -> None:
        """End the input."""
        self._closed = True
        self._changed()

    def hangs_up(self) -> None:
        """Break the connection."""
        self._gone = True
        self._changed()

    def blocks(self) -> None:
        """Take no output for now."""
        self.blocked = True

    def unblocks(self) -> None:
        """Take output again."""
        self.blocked = False
        self._changed()

    async def hears(self, kind: type[M]) -> M:
        """The next message of this class that the handler sends."""
        with anyio.fail_after(5):
            while True:
                for message in self.sent[self._seen :]:
                    self._seen += 1
                    if isinstance(message, kind):
                        return message
                await self._change.wait()

    @property
    def sent(self) -> list[Message]:
        """Everything the handler sent."""
        return [message for turn in self.turns for message in turn]

    @property
    def kinds(self) -> list[str]:
        """The classes of all that, by name."""
        return [type(message).__name__ for message in self.sent]

    @property
    def output(self) -> Any:
        """The result of the handler, as JSON text, or its failure."""
        (result,) = (message.result for message in self.sent if isinstance(message, OutputCommand))
        return result.content.decode() if isinstance(result, Value) else result

    # --- what the driver does

    def _changed(self) -> None:
        self._change.set()
        self._change = anyio.Event()

    async def receive(self) -> list[Message] | None:
        self.receives += 1
        while True:
            if self._gone:
                raise Disconnected
            if self._inbox:
                batch = list(self._inbox)
                self._inbox.clear()
                return batch
            if self._closed and not self._told_end:
                self._told_end = True
                return None
            await self._change.wait()

    async def send(self, messages: Sequence[Message]) -> None:
        while self.blocked and not self._gone:
            await self._change.wait()
        if self._gone:
            raise Disconnected
        self.turns.append(list(messages))
        self._changed()


class AsBytes:
    """The same peer, spoken to in bytes."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._decoder = Decoder()

    async def receive(self) -> bytes | None:
        messages = await self._peer.receive()
        return None if messages is None else encode_frames(messages)

    async def send(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        await self._peer.send(list(self._decoder.messages()))


class Attempt:
    """An attempt that runs beside the test."""

    def __init__(self, driver: Driver, environment: Environment) -> None:
        self.driver = driver
        self.environment = environment
        self.host = anyio.CancelScope()
        self.end: End | None = None
        self._over = anyio.Event()

    async def run(self, registry: Registry) -> None:
        bound = registry.lookup("Tested", "handler")
        assert bound is not None
        try:
            with self.host:
                self.end = await run_attempt(bound, self.driver, self.environment)
        finally:
            self._over.set()

    async def ended(self) -> End | None:
        """How it ended; `None` when the host was cancelled and let nothing return."""
        with anyio.fail_after(5):
            await self._over.wait()
        return self.end


@asynccontextmanager
async def attempt(
    handler: Handler,
    peer: Peer,
    *,
    version: ProtocolVersion = V6,
    clock: Clock | None = None,
    app: Any = None,
    middleware: Sequence[Middleware] = (),
    home: bool = False,
    as_bytes: bool = False,
) -> AsyncIterator[Attempt]:
    """Start an attempt of a function; it must have ended when the block is left.

    Args:
        handler: `async def` with a context and at most one input.
        peer: the runtime.
        version: of the protocol.
        clock: what time it is; it stands still by default.
        app: what `ctx.app` is.
        middleware: around attempts and steps.
        home: whether the tasks of the attempt live in a group of the process.
        as_bytes: whether the two talk in bytes, and not in objects.
    """
    service = Service("Tested")
    service.handler(name="handler")(handler)
    registry = Registry([service])
    environment = Environment(
        registry, clock=clock if clock is not None else StandingClock(), app=app, middleware=middleware
    )
    async with anyio.create_task_group() as process, anyio.create_task_group() as tasks:
        driver = Driver(
            Invocation(version),
            AsBytes(peer) if as_bytes else peer,
            messages=not as_bytes,
            clock=environment.clock,
            home=process if home else None,
        )
        running = Attempt(driver, environment)
        tasks.start_soon(running.run, registry)
        yield running
        await running.ended()
