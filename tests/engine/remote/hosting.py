"""The least engine that an attempt needs: a journal in a list, and whatever completes at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import hypercorn.asyncio
import hypercorn.trio
import sniffio
from hypercorn.config import Config

from perdure.engine.remote.channel import Broken, Destination, RemoteChannel
from perdure.engine.remote.endpoint import RemoteEndpoint
from perdure.engine.session import AttemptSession
from perdure.exceptions import ProtocolError
from perdure.wire.ids import format_invocation_id
from perdure.wire.messages import (
    Command,
    EndMessage,
    ErrorMessage,
    InputCommand,
    Message,
    OutputCommand,
    ProposeRunCompletionMessage,
    RunCompletion,
    SignalNotification,
    StartMessage,
    SuspensionMessage,
    Value,
)
from perdure.wire.versions import ProtocolVersion
from tests.server.serving import serving

ID = bytes(range(24))


class Host:
    """One invocation: its journal, and how its attempts went."""

    def __init__(self, body: bytes = b"", key: str = "") -> None:
        self.journal: list[Message] = [InputCommand(value=Value(body))]
        self.key = key
        self.attempts: list[str] = []
        self.last: Message | None = None
        self.channel: RemoteChannel | None = None
        self.changed = anyio.Event()
        self.violation: str | None = None
        self.rest = anyio.Event()

    @property
    def output(self) -> Any:
        (found,) = [entry.result for entry in self.journal if isinstance(entry, OutputCommand)]
        return found

    def commands(self) -> list[str]:
        return [type(entry).__name__ for entry in self.journal if isinstance(entry, Command)]

    async def attempt(
        self,
        endpoint: RemoteEndpoint,
        target: str,
        *,
        version: ProtocolVersion = ProtocolVersion.V7,
        packed: bool = False,
        bidirectional: bool = True,
        inactivity: float = 60.0,
    ) -> Broken | None:
        service, _, handler = target.partition("/")
        session = AttemptSession(1, 1, now=0.0, inactivity=inactivity, abort=600.0, bidirectional=bidirectional)
        start = StartMessage(
            id=ID,
            debug_id=format_invocation_id(ID),
            known_entries=len(self.journal),
            partial_state=not self.key,
            key=self.key,
            random_seed=7,
        )
        session.begin(start, list(self.journal))
        destination = Destination(
            service=service,
            handler=handler,
            key=self.key or None,
            invocation_id=format_invocation_id(ID),
            version=version,
            packed=packed,
            bidirectional=bidirectional,
        )
        channel = self.channel = RemoteChannel(session, endpoint, destination, self.take, self.rest.set)
        broken = await channel.run()
        if self.violation is not None:
            broken = Broken(ErrorMessage(571, self.violation))
        self.attempts.append("broken" if broken else type(self.last).__name__ if session.last_word else "left")
        return broken

    def take(self, session: AttemptSession, messages: Sequence[Message]) -> None:
        for message in messages:
            try:
                if not session.receive(message, 0.0):
                    continue
            except ProtocolError as violation:
                self.violation = str(violation)
                assert self.channel is not None
                self.channel.cut()
                return
            self.last = message
            if isinstance(message, Command):
                self.journal.append(message)
            elif isinstance(message, ProposeRunCompletionMessage):
                completion = RunCompletion(message.result_completion_id, message.result)
                self.journal.append(completion)
                session.deliver(len(self.journal) - 1, completion, 0.0)
        self.changed.set()
        self.changed = anyio.Event()
        assert self.channel is not None
        self.channel.wake()

    def signal(self, index: int, value: bytes) -> None:
        entry = SignalNotification(index, Value(value))
        self.journal.append(entry)
        assert self.channel is not None
        self.channel.session.deliver(len(self.journal) - 1, entry, 0.0)
        self.channel.wake()

    async def until(self, *kinds: type[Message]) -> None:
        """Wait until the journal ends with entries of these classes, or the last word is of one."""
        with anyio.fail_after(20):
            while not (isinstance(self.last, kinds) or isinstance(self.journal[-1], kinds)):
                await self.changed.wait()

    async def finish(self, endpoint: RemoteEndpoint, target: str, **options: Any) -> Any:
        """Attempt until it ends."""
        for _ in range(20):
            broken = await self.attempt(endpoint, target, **options)
            assert broken is None, broken
            if isinstance(self.last, EndMessage):
                return self.output
            assert isinstance(self.last, SuspensionMessage), self.last
        raise AssertionError("it does not end")


@asynccontextmanager
async def endpoint_at(url: str, **options: Any) -> AsyncIterator[RemoteEndpoint]:
    """A client of an endpoint."""
    async with anyio.create_task_group() as home:
        endpoint = RemoteEndpoint(url, home, **options)
        try:
            yield endpoint
        finally:
            await endpoint.aclose()
            home.cancel_scope.cancel()


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[RemoteEndpoint]:
    """An application under perdure's own server, and its client."""
    async with serving(app) as server, endpoint_at(f"http://127.0.0.1:{server.port}", **options) as endpoint:
        yield endpoint


@asynccontextmanager
async def under_hypercorn(app: Any, port: int, **options: Any) -> AsyncIterator[RemoteEndpoint]:
    """An application under hypercorn on this loop, and its client."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 0.1
    done = anyio.Event()
    if sniffio.current_async_library() == "trio":
        serve = partial(hypercorn.trio.serve, app, config, shutdown_trigger=done.wait)
    else:
        serve = partial(hypercorn.asyncio.serve, app, config, shutdown_trigger=done.wait)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await _listening(port)
        async with endpoint_at(f"http://127.0.0.1:{port}", **options) as endpoint:
            yield endpoint
        done.set()


async def _listening(port: int) -> None:
    """Return when somebody listens there; hypercorn does not tell."""
    with anyio.fail_after(20):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                await anyio.sleep(0.01)
            else:
                await stream.aclose()
                return
