"""Callers in memory: each waits under a number for one answer, and is told when there will be none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel

from perdure.exceptions import EngineClosed, EngineFailed

if TYPE_CHECKING:
    from perdure.engine.events import Event
    from perdure.engine.outputs import Answer

__all__ = ["Callers"]


class _Asked(Protocol):
    """What callers need of the engine."""

    failure: EngineFailed | None
    closing: bool

    def feed(self, event: Event) -> None:
        """Something happened."""
        ...

    def settle(self) -> None:
        """Whatever was fed in one go is complete."""
        ...


class _Waiter:
    __slots__ = ("answer", "arrived")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.arrived: anyio.Event | None = None


class Callers:
    """Those who wait for an answer of one engine.

    Args:
        asked: the engine.
    """

    __slots__ = ("_asked", "_numbers", "_waiters")

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._numbers = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}

    async def ask(self, make: Callable[[int], Event], forget: Callable[[int], Event | None] | None = None) -> Answer:
        """Let something happen, and wait for the answer.

        Args:
            make: the event, given the number of the waiter.
            forget: what happens when the caller goes away without it.

        Raises:
            EngineFailed: the engine cannot go on.
            EngineClosed: it is closed, or was closed before there was an answer.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        asked = self._asked
        self.check_open()
        number = next(self._numbers)
        waiter = self._waiters[number] = _Waiter()
        try:
            asked.feed(make(number))
            asked.settle()
            if waiter.answer is None and asked.failure is None:
                waiter.arrived = anyio.Event()
                await waiter.arrived.wait()
            else:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        finally:
            del self._waiters[number]
            if waiter.answer is None and asked.failure is None and forget is not None and not asked.closing:
                event = forget(number)
                if event is not None:
                    asked.feed(event)
                    asked.settle()
        if waiter.answer is not None:
            return waiter.answer
        if asked.failure is not None:
            raise asked.failure
        raise EngineClosed("the engine was closed before there was an answer; what was asked for may still be done")

    def check_open(self) -> None:
        """Refuse what comes too late.

        Raises:
            EngineFailed: the engine cannot go on.
            EngineClosed: it is closed, or about to be.
        """
        if self._asked.failure is not None:
            raise self._asked.failure
        if self._asked.closing:
            raise EngineClosed("the engine is closed, or about to be: nothing new is taken")

    def answer(self, number: int, answer: Answer) -> None:
        """Answer whoever waits under this number; who is gone needs none."""
        waiter = self._waiters.get(number)
        if waiter is not None and waiter.answer is None:
            waiter.answer = answer
            if waiter.arrived is not None:
                waiter.arrived.set()

    def give_up(self) -> None:
        """Nobody will be answered any more."""
        for waiter in self._waiters.values():
            if waiter.arrived is not None:
                waiter.arrived.set()
