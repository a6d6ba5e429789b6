"""What came back: notifications in journal order, delivered one at a time, and the mailboxes of signals.

A notification that has arrived is not *delivered*. It waits in the queue until the driver, with no branch left to run,
takes the first one. Until then it does not exist for user code: `done` is false, a `select` does not see it. That is
what makes the order of the journal, and not the speed of the network, the order of the program.

Signals are mailboxes by name. A delivered value goes to the oldest future that is *being awaited*; while none is, it is
kept. So a wait that was abandoned swallows no later signal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from perdure.exceptions import JournalMismatchError, ProtocolError
from perdure.machine.awaiting import Leaf
from perdure.machine.journal import mismatch
from perdure.wire.messages import CANCEL_SIGNAL, Failure, Notification, Result, SignalNotification, Value, Void

__all__ = ["Completions", "Mailbox"]

_VOID: Final = Void()


class Mailbox:
    """Signals of one name (or index): values nobody took yet, and futures that wait."""

    __slots__ = ("delivered", "values", "waiting")

    def __init__(self) -> None:
        self.values: deque[Result] = deque()
        self.waiting: list[Leaf] = []
        self.delivered: int = 0


class Completions:
    """Notifications of one attempt: queued, then delivered.

    Attributes:
        cancelled: whether the cancel signal was delivered.
    """

    __slots__ = ("_leaves", "_proposed", "_queue", "cancelled", "mailboxes", "next_id", "next_signal")

    def __init__(self, first_signal: int) -> None:
        self._queue: deque[Notification] = deque()
        self._leaves: dict[int, Leaf] = {}
        self._proposed: dict[int, Value | Failure] = {}
        self.mailboxes: dict[int | str, Mailbox] = {}
        self.cancelled: bool = False
        self.next_id: int = 1  # 0 is protobuf's default, so it would not be written
        self.next_signal: int = first_signal

    # --- ids -------------------------------------------------------------------------------------------------------

    def expect(self, command: int, label: str) -> Leaf:
        """A leaf for the next completion id."""
        id = self.next_id
        self.next_id = id + 1
        leaf = self._leaves[id] = Leaf(id, command, label)
        return leaf

    def forget(self, leaf: Leaf) -> None:
        """No notification will come for this leaf: its answer stood in the command."""
        del self._leaves[leaf.id]

    # --- arrival ---------------------------------------------------------------------------------------------------

    def arrive(self, notification: Notification) -> None:
        """Queue a notification in the order of the journal."""
        self._queue.append(notification)

    def propose(self, id: int, result: Value | Failure) -> None:
        """Remember a proposed result until its ack arrives (version 7)."""
        self._proposed[id] = result

    def acknowledge(self, id: int, completion: Callable[[int, Value | Failure], Notification]) -> None:
        """Queue, in the ack's place, the completion that it acknowledges.

        Raises:
            ProtocolError: nothing was proposed under this id.
        """
        result = self._proposed.pop(id, None)
        if result is None:
            raise ProtocolError(f"the runtime acknowledged the result of run {id}, which was never proposed")
        self._queue.append(completion(id, result))

    def __len__(self) -> int:
        return len(self._queue)

    # --- delivery --------------------------------------------------------------------------------------------------

    def deliver(self, command_index: int) -> list[object] | None:
        """Deliver the first queued notification.

        Returns:
            The waiters of every await point that it settles, or `None` when nothing is queued.

        Raises:
            JournalMismatchError: it answers a command that the code has not issued.
        """
        if not self._queue:
            return None
        notification = self._queue.popleft()
        if notification.__class__ is SignalNotification:
            assert isinstance(notification, SignalNotification)
            return self._deliver_signal(notification)
        id: int = notification.completion_id  # type: ignore[attr-defined]  # all but signals have it
        leaf = self._leaves.pop(id, None)
        if leaf is None:
            raise self._unexpected(id, command_index)
        result: Result | None = notification.result  # type: ignore[attr-defined]  # every notification has it
        if result is None:
            raise ProtocolError(f"the runtime sent a {type(notification).__name__} for id {id} without a result")
        return leaf.settle(result)

    def _unexpected(self, id: int, command_index: int) -> ProtocolError | JournalMismatchError:
        if id < self.next_id:
            return ProtocolError(f"the runtime completed id {id} a second time")
        return mismatch(
            command_index + 1,
            None,
            None,
            f"waiting, although the journal holds the result of a step (completion {id}) that the code has not started",
        )

    def _deliver_signal(self, notification: SignalNotification) -> list[object]:
        signal = notification.signal
        if signal is None:
            raise ProtocolError("the runtime sent a signal without index or name")
        result = notification.result if notification.result is not None else _VOID
        if signal == CANCEL_SIGNAL:
            self.cancelled = True
            return []
        mailbox = self.mailbox(signal)
        mailbox.delivered += 1
        if mailbox.waiting:
            return mailbox.waiting.pop(0).settle(result)
        mailbox.values.append(result)
        return []

    # --- signals ---------------------------------------------------------------------------------------------------

    def next_awakeable(self, command: int) -> tuple[int, Leaf]:
        """A numbered signal with its one future, which counts as awaited from the start."""
        signal = self.next_signal
        self.next_signal = signal + 1
        leaf = Leaf(0, command, "awakeable", signal)
        self.collect(leaf)
        return signal, leaf

    def mailbox(self, signal: int | str) -> Mailbox:
        """The mailbox of a signal, made when it is first mentioned."""
        mailbox = self.mailboxes.get(signal)
        if mailbox is None:
            mailbox = self.mailboxes[signal] = Mailbox()
        return mailbox

    def collect(self, leaf: Leaf) -> list[object]:
        """A signal's future is being awaited: give it the oldest kept value, or let it wait.

        Returns:
            The waiters that this settles.
        """
        assert leaf.signal is not None
        mailbox = self.mailbox(leaf.signal)
        if mailbox.values:
            return leaf.settle(mailbox.values.popleft())
        if leaf not in mailbox.waiting:
            mailbox.waiting.append(leaf)
        return []

    def withdraw(self, leaf: Leaf) -> None:
        """A named signal's future is no longer awaited: later values are not for it."""
        assert leaf.signal is not None
        mailbox = self.mailboxes.get(leaf.signal)
        if mailbox is not None and leaf in mailbox.waiting:
            mailbox.waiting.remove(leaf)
