"""One attempt of one invocation, as a machine without I/O.

Use it as one uses h11: feed what arrives, call one method per thing the handler does, take out what is to be sent::

    machine = Invocation(ProtocolVersion.V6)
    machine.receive_data(chunk)             # until machine.ready
    request = machine.input()
    leaf = machine.run("charge")            # a command; the leaf settles when its completion is delivered
    transport.write(machine.data_to_send())
    machine.propose_run(leaf, Value(b"1"))  # the closure has run
    machine.receive_data(more)
    machine.deliver()                       # one notification, in journal order
    machine.write_output(Value(b"2"))
    machine.end()

The caller decides *when* to deliver and which command comes next; the machine checks that both agree with the journal.
Engines in the same process use `receive` and `messages_to_send`: the same messages as objects, no bytes.

Every method raises `perdure.exceptions.JournalMismatchError` when the journal recorded another command, and
`ProtocolError` when the peer broke the protocol; after either, call `fail`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from perdure.exceptions import (
    INTERNAL,
    JOURNAL_MISMATCH,
    JournalMismatchError,
    ProtocolError,
    UnsupportedFeatureError,
    UsageError,
)
from perdure.machine.awaiting import Leaf, Node, await_point, flat_suspension
from perdure.machine.completions import Completions, Mailbox
from perdure.machine.journal import RecordedCommands, mismatch
from perdure.machine.state import StateView
from perdure.machine.states import Event, State, next_state
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.ids import format_awakeable_id
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    FIRST_AWAKEABLE_SIGNAL,
    AnyOutcome,
    AttachInvocationCommand,
    AwaitingOnMessage,
    CallCommand,
    ClearAllStateCommand,
    ClearStateCommand,
    Command,
    CommandAckMessage,
    CompleteAwakeableCommand,
    CompletePromiseCommand,
    EndMessage,
    ErrorBehavior,
    ErrorMessage,
    Failure,
    GetEagerStateCommand,
    GetEagerStateKeysCommand,
    GetInvocationOutputCommand,
    GetLazyStateCommand,
    GetLazyStateKeysCommand,
    GetPromiseCommand,
    Header,
    InputCommand,
    Message,
    Notification,
    OneWayCallCommand,
    OutputCommand,
    PeekPromiseCommand,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SendSignalCommand,
    SetStateCommand,
    SleepCommand,
    StartMessage,
    StateKeys,
    SuspensionMessage,
    Target,
    Value,
    Void,
)
from perdure.wire.versions import ProtocolVersion

__all__ = ["Invocation"]

R = TypeVar("R", bound=AnyOutcome)

_VOID: Final = Void()
_REPLAYING: Final = State.REPLAYING
_PROCESSING: Final = State.PROCESSING


class Invocation:
    """The state machine of one attempt.

    Args:
        version: the negotiated protocol version.
        counts_signals: whether the runtime can wake the invocation for the same signal name more than once.
            restate-server cannot: it resumes a suspension at once when a signal of that name was ever stored.

    Attributes:
        state: where the attempt is (`perdure.machine.states`).
        start: the start message, once it is here.
        input_closed: whether the runtime will send nothing more.
        written: how many commands this attempt added to the journal.
    """

    __slots__ = (
        "_completions",
        "_decoder",
        "_expected_entries",
        "_out",
        "_output_written",
        "_recorded",
        "_start",
        "_view",
        "counts_signals",
        "input_closed",
        "last_command",
        "state",
        "version",
        "written",
    )

    def __init__(self, version: ProtocolVersion, *, counts_signals: bool = False) -> None:
        self.version: ProtocolVersion = version
        self.counts_signals: bool = counts_signals
        self.state: State = State.AWAITING_START
        self.input_closed: bool = False
        self.written: int = 0
        self.last_command: Command | None = None
        self._decoder = Decoder()
        self._start: StartMessage | None = None
        self._expected_entries = 0
        self._recorded = RecordedCommands()
        self._completions = Completions(FIRST_AWAKEABLE_SIGNAL)
        self._view = StateView()
        self._out: list[Message] = []
        self._output_written = False

    def __repr__(self) -> str:
        name = self._start.debug_id if self._start is not None else "?"
        return f"<Invocation {name} {self.state.value}, command {self._recorded.index}, {self.version.name}>"

    # --- input -----------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the runtime, split anywhere.

        Raises:
            ProtocolError: they are not what the protocol allows here.
        """
        if self.state is State.CLOSED:
            return  # late: nobody looks at it any more
        decoder = self._decoder
        decoder.receive_data(data)
        receive = self.receive
        for message in decoder.messages():
            receive(message)

    def receive(self, message: Message) -> None:
        """Take one message from the runtime.

        Raises:
            ProtocolError: this message is not allowed here.
        """
        state = self.state
        if isinstance(message, Notification):
            if state is _PROCESSING or state is _REPLAYING:
                self._completions.arrive(message)
            elif state is State.AWAITING_ENTRIES:
                self._completions.arrive(message)
                self._entry_arrived()
            else:
                self._move(Event.NOTIFICATION)
        elif isinstance(message, ProposeRunCompletionAckMessage):
            self._move(Event.NOTIFICATION)
            if self.state is not State.CLOSED:
                self._completions.acknowledge(message.completion_id, RunCompletion)
        elif isinstance(message, Command):
            if state is not State.AWAITING_ENTRIES:
                self._move(Event.ENTRY)
                return
            if not self._recorded and not isinstance(message, InputCommand):
                raise ProtocolError(f"the journal begins with {type(message).__name__}, not with the input")
            self._recorded.append(message)
            self._entry_arrived()
        elif isinstance(message, StartMessage):
            self._begin(message)
        elif not isinstance(message, CommandAckMessage):
            raise ProtocolError(f"the runtime sent {type(message).__name__}, which only a handler may send")

    def receive_eof(self) -> None:
        """The runtime sends nothing more: every further wait ends in a suspension.

        Raises:
            ProtocolError: the journal, or a frame, is not complete.
        """
        self.input_closed = True
        if self.state is not State.CLOSED:
            self._decoder.receive_eof()
            self._decoder.next_message()  # there is none, unless the input ends inside a frame
        self._move(Event.INPUT_CLOSED)

    def _begin(self, message: StartMessage) -> None:
        self._move(Event.START)
        if self.state is State.CLOSED:
            return
        if message.known_entries < 1:
            raise ProtocolError("the start message announces no journal entry; the input is always there")
        self._start = message
        self._expected_entries = message.known_entries
        self._view = StateView(message.state_map, partial=message.partial_state)

    def _entry_arrived(self) -> None:
        self._expected_entries -= 1
        if self._expected_entries:
            return
        if not self._recorded:
            raise ProtocolError("the journal holds no command; the input is always there")
        self._move(Event.LAST_ENTRY)

    def _move(self, event: Event) -> None:
        self.state = next_state(self.state, event)

    # --- output ----------------------------------------------------------------------------------------------------

    def data_to_send(self) -> bytes:
        """Everything that is to be sent, as frames; empty when there is nothing.

        Raises:
            UsageError: the protocol cannot express it. All of it is lost, the end of the attempt too: call `fail`.
        """
        out = self._out
        if not out:
            return b""
        self._out = []
        try:
            return encode_frames(out)
        except UsageError:
            if self.state is State.CLOSED:
                self.state = _PROCESSING  # what closed it was not sent
            raise

    def messages_to_send(self) -> list[Message]:
        """Everything that is to be sent, as objects."""
        out, self._out = self._out, []
        return out

    @property
    def has_output(self) -> bool:
        """Whether anything is to be sent."""
        return bool(self._out)

    # --- what is known ---------------------------------------------------------------------------------------------

    @property
    def start(self) -> StartMessage:
        """The start message."""
        assert self._start is not None, "the start message is not here yet"
        return self._start

    @property
    def ready(self) -> bool:
        """Whether the whole recorded journal is here, so that user code can start."""
        return self.state is _REPLAYING or self.state is _PROCESSING

    @property
    def replaying(self) -> bool:
        """Whether recorded commands are left."""
        return self.state is _REPLAYING

    @property
    def closed(self) -> bool:
        """Whether the attempt has ended."""
        return self.state is State.CLOSED

    @property
    def command_index(self) -> int:
        """Index of the last command, counted from 0; -1 before the input is taken."""
        return self._recorded.index

    @property
    def cancelled(self) -> bool:
        """Whether the cancel signal was delivered."""
        return self._completions.cancelled

    @property
    def undelivered(self) -> int:
        """How many notifications are queued."""
        return len(self._completions)

    # --- delivery --------------------------------------------------------------------------------------------------

    def deliver(self) -> list[object] | None:
        """Deliver the next notification, in journal order.

        Returns:
            The waiters of every await point that it settles; `None` when there is nothing to deliver.

        Raises:
            JournalMismatchError: it answers a command that the code has not issued.
            ProtocolError: it cannot be understood.
        """
        return self._completions.deliver(self._recorded.index)

    def collect_signal(self, leaf: Leaf) -> list[object]:
        """A named signal's future is being awaited: it takes a kept value, or waits for the next.

        Returns:
            The waiters that a kept value settles.

        Raises:
            UsageError: the name was used up, on a runtime that wakes an invocation for each name only once.
        """
        woken = self._completions.collect(leaf)
        mailbox: Mailbox = self._completions.mailbox(leaf.signal if leaf.signal is not None else 0)
        if mailbox.waiting and mailbox.delivered and not self.counts_signals:
            self._completions.withdraw(leaf)
            raise UsageError(
                f"signal {leaf.signal!r} was received before, and this runtime can wake an invocation for each name "
                "only once: await a signal of another name (for example with a number in it)"
            )
        return woken

    def withdraw_signal(self, leaf: Leaf) -> None:
        """A named signal's future is no longer awaited."""
        self._completions.withdraw(leaf)

    # --- commands: the frame of the handler ------------------------------------------------------------------------

    def _issue(self, command: Command, *, stable: bool = True) -> Command:
        """Write a command, or repeat the recorded one; returns the one that counts.

        `stable` tells whether equal values always become equal bytes, so that payloads can be compared.
        """
        self.last_command = command
        if self.state is _PROCESSING:
            self._out.append(command)
            self._recorded.index += 1
            self.written += 1
            return command
        if self.state is not _REPLAYING:
            raise RuntimeError(f"a command while the attempt is {self.state.value}: please report this")
        recorded = self._recorded.repeat(command, stable=stable)
        if not self._recorded:
            self.state = _PROCESSING  # TRANSITIONS: LAST_REPEATED
        return recorded

    def _require(self, version: ProtocolVersion, feature: str) -> None:
        if self.version < version:
            raise UnsupportedFeatureError(
                f"{feature} needs service protocol {version.name}, and the runtime negotiated {self.version.name}: "
                "upgrade the runtime or enable the newer protocol there"
            )

    def input(self) -> InputCommand:
        """Take the request; always the first command."""
        if self.state is not _REPLAYING or self._recorded.index >= 0:
            raise RuntimeError("the input is taken once, as the first command: please report this")
        recorded = self.last_command = self._recorded.take_input()
        if not self._recorded:
            self.state = _PROCESSING  # TRANSITIONS: LAST_REPEATED
        return recorded

    def write_output(self, result: Value | Failure, *, stable: bool = True) -> None:
        """Write the result of the invocation."""
        self._issue(OutputCommand(self._portable(result)), stable=stable)
        self._output_written = True

    def end(self) -> None:
        """The invocation is over."""
        if not self._output_written:
            raise RuntimeError("an invocation cannot end without an output: please report this")
        if self.state is _REPLAYING:
            recorded = self._recorded.peek()
            raise mismatch(self._recorded.index + 1, recorded, None, "the end of the handler")
        self._move(Event.END)
        self._out.append(EndMessage())

    def _portable(self, result: R) -> R | Failure:
        """Version 5 has no metadata in failures; what it cannot store is not compared later either."""
        if self.version < ProtocolVersion.V6 and isinstance(result, Failure) and result.metadata:
            return Failure(result.code, result.message)
        return result

    # --- commands: state -------------------------------------------------------------------------------------------

    def get_state(self, key: str, name: str = "") -> Leaf:
        """Read a key. The leaf is settled at once when the value is known, with `Void` or `Value`."""
        raw = key.encode()
        leaf = self._completions.expect(self._recorded.index + 1, f"get state {key!r}")
        recorded = self._recorded.peek() if self.state is _REPLAYING else None
        # In a replay the recorded way counts: the state sent along may be another now.
        eager = isinstance(recorded, GetEagerStateCommand) if recorded is not None else self._view.knows(raw)
        if not eager:
            self._issue(GetLazyStateCommand(raw, leaf.id, name))
            return leaf
        value = self._view.get(raw) if self._view.knows(raw) else None
        issued = self._issue(GetEagerStateCommand(raw, Value(value) if value is not None else _VOID, name))
        assert isinstance(issued, GetEagerStateCommand)
        self._completions.forget(leaf)
        leaf.settle(issued.result if issued.result is not None else _VOID)
        return leaf

    def get_state_keys(self, name: str = "") -> Leaf:
        """List the keys. The leaf is settled at once when they are known."""
        leaf = self._completions.expect(self._recorded.index + 1, "list state keys")
        recorded = self._recorded.peek() if self.state is _REPLAYING else None
        keys = self._view.keys()
        eager = isinstance(recorded, GetEagerStateKeysCommand) if recorded is not None else keys is not None
        if not eager:
            self._issue(GetLazyStateKeysCommand(leaf.id, name))
            return leaf
        issued = self._issue(GetEagerStateKeysCommand(StateKeys(keys or ()), name))
        assert isinstance(issued, GetEagerStateKeysCommand)
        self._completions.forget(leaf)
        leaf.settle(issued.value if issued.value is not None else StateKeys())
        return leaf

    def set_state(self, key: str, value: bytes, name: str = "", *, stable: bool = True) -> None:
        """Write a key."""
        raw = key.encode()
        self._issue(SetStateCommand(raw, Value(value), name), stable=stable)
        self._view.set(raw, value)

    def clear_state(self, key: str, name: str = "") -> None:
        """Remove a key."""
        raw = key.encode()
        self._issue(ClearStateCommand(raw, name))
        self._view.clear(raw)

    def clear_all_state(self, name: str = "") -> None:
        """Remove every key."""
        self._issue(ClearAllStateCommand(name))
        self._view.clear_all()

    # --- commands: timers and runs ---------------------------------------------------------------------------------

    def sleep(self, wake_up_time: int, name: str = "") -> Leaf:
        """Set a timer, in milliseconds since the Unix epoch."""
        return self.set_timer(wake_up_time, name)[0]

    def set_timer(self, wake_up_time: int, name: str = "") -> tuple[Leaf, int]:
        """The same; returns the time that counts too: the recorded one in a replay."""
        leaf = self._completions.expect(self._recorded.index + 1, "sleep")
        issued = self._issue(SleepCommand(wake_up_time, leaf.id, name))
        assert isinstance(issued, SleepCommand)
        return leaf, issued.wake_up_time

    def run(self, name: str = "") -> Leaf:
        """Announce a closure. Start it when nothing is left to deliver and the leaf is not settled."""
        leaf = self._completions.expect(self._recorded.index + 1, name or "run")
        self._issue(RunCommand(leaf.id, name))
        return leaf

    def propose_run(self, leaf: Leaf, result: Value | Failure) -> None:
        """Send the result of a closure; the leaf settles when the runtime has stored it."""
        self._move(Event.PROPOSAL)
        result = self._portable(result)
        acknowledged = self.version >= ProtocolVersion.V7
        if acknowledged:
            self._completions.propose(leaf.id, result)
        self._out.append(ProposeRunCompletionMessage(leaf.id, result, acknowledged))

    def earlier_tries(self, leaf: Leaf) -> tuple[int, float]:
        """How often, and for how many seconds, the closure was tried in earlier attempts.

        The start message counts for the one step that the earlier attempts got stuck at: the last command of the
        journal, as long as this attempt has written nothing itself. Otherwise the answer is `(0, 0.0)`.
        """
        start = self.start
        if self.written or leaf.command != self._recorded.index or not start.retry_count_since_last_stored_entry:
            return 0, 0.0
        return start.retry_count_since_last_stored_entry, start.duration_since_last_stored_entry / 1000

    # --- commands: other invocations -------------------------------------------------------------------------------

    def call(
        self,
        service: str,
        handler: str,
        parameter: bytes,
        *,
        key: str = "",
        headers: Sequence[Header] = (),
        idempotency_key: str | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
        name: str = "",
        stable: bool = True,
    ) -> tuple[Leaf, Leaf]:
        """Call a handler; returns the leaves of the callee's invocation id and of its result."""
        self._check_addressing(idempotency_key, scope, limit_key)
        index = self._recorded.index + 1
        id_leaf = self._completions.expect(index, f"id of call {service}/{handler}")
        leaf = self._completions.expect(index, f"call {service}/{handler}")
        self._issue(
            CallCommand(
                service,
                handler,
                parameter,
                tuple(headers),
                key,
                idempotency_key,
                scope,
                limit_key,
                id_leaf.id,
                leaf.id,
                name,
            ),
            stable=stable,
        )
        return id_leaf, leaf

    def send(
        self,
        service: str,
        handler: str,
        parameter: bytes,
        *,
        key: str = "",
        invoke_time: int = 0,
        headers: Sequence[Header] = (),
        idempotency_key: str | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
        name: str = "",
        stable: bool = True,
    ) -> Leaf:
        """Send to a handler; returns the leaf of its invocation id. `invoke_time` is Unix milliseconds, 0 for now."""
        self._check_addressing(idempotency_key, scope, limit_key)
        id_leaf = self._completions.expect(self._recorded.index + 1, f"id of send {service}/{handler}")
        self._issue(
            OneWayCallCommand(
                service,
                handler,
                parameter,
                invoke_time,
                tuple(headers),
                key,
                idempotency_key,
                scope,
                limit_key,
                id_leaf.id,
                name,
            ),
            stable=stable,
        )
        return id_leaf

    def _check_addressing(self, idempotency_key: str | None, scope: str | None, limit_key: str | None) -> None:
        if idempotency_key == "" or scope == "" or limit_key == "":
            raise UsageError("an idempotency key, a scope or a limit key must not be empty: leave it out instead")
        if scope is not None or limit_key is not None:
            if scope is None:
                raise UsageError("a limit key means something only within a scope: give scope= too")
            self._require(ProtocolVersion.V7, "a scope")

    def attach(self, target: Target, name: str = "") -> Leaf:
        """Wait for the result of an existing invocation."""
        leaf = self._completions.expect(self._recorded.index + 1, "attach")
        self._issue(AttachInvocationCommand(target, leaf.id, name))
        return leaf

    def get_output(self, target: Target, name: str = "") -> Leaf:
        """Look at the result of an existing invocation; `Void` while it is not complete."""
        leaf = self._completions.expect(self._recorded.index + 1, "get output")
        self._issue(GetInvocationOutputCommand(target, leaf.id, name))
        return leaf

    def send_signal(
        self, invocation_id: str, signal: int | str, result: AnyOutcome, name: str = "", *, stable: bool = True
    ) -> None:
        """Send a signal to an invocation."""
        self._issue(SendSignalCommand(invocation_id, signal, self._portable(result), name), stable=stable)

    def cancel(self, invocation_id: str) -> None:
        """Cancel another invocation."""
        self._issue(SendSignalCommand(invocation_id, CANCEL_SIGNAL, _VOID))

    # --- commands: awakeables, signals, promises -------------------------------------------------------------------

    def awakeable(self) -> tuple[str, Leaf]:
        """A token that others can complete, and its leaf. Writes nothing."""
        signal, leaf = self._completions.next_awakeable(self._recorded.index)
        return format_awakeable_id(self.start.id, signal), leaf

    def signal(self, name: str) -> Leaf:
        """A future of a named signal of this invocation. Writes nothing; see `collect_signal`."""
        return Leaf(0, self._recorded.index, f"signal {name!r}", name)

    def complete_awakeable(self, id: str, result: Value | Failure, name: str = "", *, stable: bool = True) -> None:
        """Complete an awakeable of any invocation."""
        self._issue(CompleteAwakeableCommand(id, self._portable(result), name), stable=stable)

    def get_promise(self, key: str, name: str = "") -> Leaf:
        """Wait for a promise of this workflow."""
        leaf = self._completions.expect(self._recorded.index + 1, f"promise {key!r}")
        self._issue(GetPromiseCommand(key, leaf.id, name))
        return leaf

    def peek_promise(self, key: str, name: str = "") -> Leaf:
        """Look at a promise; `Void` while it is not complete."""
        leaf = self._completions.expect(self._recorded.index + 1, f"peek at promise {key!r}")
        self._issue(PeekPromiseCommand(key, leaf.id, name))
        return leaf

    def complete_promise(self, key: str, result: Value | Failure, name: str = "", *, stable: bool = True) -> Leaf:
        """Complete a promise; the leaf fails when it was complete already."""
        leaf = self._completions.expect(self._recorded.index + 1, f"complete promise {key!r}")
        self._issue(CompletePromiseCommand(key, self._portable(result), leaf.id, name), stable=stable)
        return leaf

    # --- ends ------------------------------------------------------------------------------------------------------

    def unreachable(self, detail: str) -> JournalMismatchError:
        """The error for a handler that waits although the journal recorded how it went on."""
        return mismatch(self._recorded.index + 1, self._recorded.peek(), None, detail)

    def can_suspend_on(self, nodes: Iterable[Node]) -> bool:
        """Whether anything that can still arrive would end one of these waits."""
        return await_point(list(nodes), cancel=False) is not None

    def suspend(self, nodes: Sequence[Node]) -> None:
        """End the attempt until one of `nodes` can settle."""
        future = await_point(nodes, cancel=not self.cancelled)
        assert future is not None, "never suspend on nothing"
        self._move(Event.SUSPEND)
        if self.version >= ProtocolVersion.V7:
            self._out.append(SuspensionMessage(awaiting_on=future))
        else:
            self._out.append(flat_suspension(future))

    def awaiting_on(self, nodes: Sequence[Node], *, executing: bool) -> None:
        """Tell the runtime what the handler waits for right now (version 7 only, a hint)."""
        if self.version < ProtocolVersion.V7 or self.state is State.CLOSED:
            return
        future = await_point(nodes, cancel=not self.cancelled)
        if future is not None:
            self._out.append(AwaitingOnMessage(future, executing))

    def fail(
        self,
        message: str,
        *,
        code: int = INTERNAL,
        stacktrace: str = "",
        retry_after: float | None = None,
        behavior: ErrorBehavior = ErrorBehavior.RETRY,
        leaf: Leaf | None = None,
        name: str | None = None,
    ) -> None:
        """End the attempt with an error; the runtime retries, pauses or fails the invocation.

        Args:
            message: what happened.
            code: an HTTP status, or one of the protocol's own (570, 571, 573).
            stacktrace: for the operator.
            retry_after: seconds to the next attempt; without it the retry policy decides.
            behavior: what the runtime shall do; below version 7 it cannot be asked, and retries.
            leaf: the step at fault; without it the last command is named, or the recorded one that was not repeated.
            name: the name of that step.
        """
        if self.state is State.CLOSED:
            return
        self._move(Event.FAIL)
        last = self.last_command
        index: int | None
        kind: int | None
        recorded = self._recorded.peek() if code == JOURNAL_MISMATCH else None
        if leaf is not None:
            index, kind, name = leaf.command, RunCommand.type_code, name or leaf.label
        elif recorded is not None:
            index, kind, name = (
                self._recorded.index + 1,
                type(recorded).type_code,
                getattr(recorded, "name", None) or None,
            )
        elif last is not None and self._recorded.index >= 0:
            index, kind, name = self._recorded.index, type(last).type_code, name or getattr(last, "name", None) or None
        else:
            index, kind = None, None
        self._out.append(
            ErrorMessage(
                code,
                message,
                stacktrace,
                index,
                name and name.encode("utf-8", "backslashreplace").decode(),
                kind,
                None if retry_after is None else max(0, round(retry_after * 1000)),
                behavior if self.version >= ProtocolVersion.V7 else ErrorBehavior.RETRY,
            )
        )
