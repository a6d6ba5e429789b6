"""A branch that keeps the turn in a plain await, while others could go on.

Between durable awaits a branch is alone, also while it waits for something plain: a socket, or an event that only
another branch can set. The second never comes, and a warning is the only sign of it; so after a while there is one, and
after a longer while the attempt fails.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from perdure.durable.source import parked_lines
from perdure.exceptions import UsageError

if TYPE_CHECKING:
    from perdure.durable.branches import DriverBranch
    from perdure.durable.driver import Driver

__all__ = ["PATIENCE", "Holding", "Patience"]

_log: Final = logging.getLogger("perdure.turns")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a branch may keep the turn in a plain await while other branches of its handler are ready.

    Args:
        warn_after: seconds until a warning is logged (`perdure.turns`).
        fail_after: seconds until the attempt fails with `UsageError`.

    Raises:
        UsageError: they are not positive, or in the wrong order.
    """

    warn_after: float = 2.0
    fail_after: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.warn_after <= self.fail_after:
            raise UsageError(
                f"a warning comes after more than 0 seconds, and a failure not before it: not {self.warn_after!r} and "
                f"{self.fail_after!r}"
            )


PATIENCE: Final = Patience()
"""What an attempt has when nobody says anything else."""


class Holding:
    """Watches the turn of one attempt."""

    __slots__ = ("_driver", "_watching")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._watching = False

    def waits(self) -> None:
        """The holder of the turn makes a plain await, and there are other branches."""
        if not self._watching:
            children = self._driver.children
            assert children is not None
            self._watching = True
            children.start(self._watch)

    async def _watch(self) -> None:
        patience = self._driver.patience
        try:
            while (held := await self._kept_for(patience.warn_after)) is not None:
                if not self._somebody_could_go_on():
                    continue
                where = "\n".join(f"  {line}" for line in parked_lines(held.coroutine))
                _log.warning(
                    "branch %s has kept the turn for %s seconds in a plain await, while other branches are ready:\n%s",
                    held.number,
                    patience.warn_after,
                    where,
                )
                if await self._kept_for(patience.fail_after - patience.warn_after) is not None:
                    await self._driver.abort(_stuck(held, patience.fail_after))
                    return
        finally:
            self._watching = False

    async def _kept_for(self, seconds: float) -> DriverBranch | None:
        """The branch that keeps the turn all this time."""
        turns = self._driver.turns
        holder, seen = turns.holder, turns.granted
        await anyio.sleep(seconds)
        if holder is None or turns.holder is not holder or turns.granted != seen or self._driver.fenced:
            return None
        return holder

    def _somebody_could_go_on(self) -> bool:
        driver = self._driver
        return driver.turns.anybody_ready or bool(driver.machine.undelivered)


def _stuck(branch: DriverBranch, seconds: float) -> UsageError:
    lines = parked_lines(branch.coroutine)
    return UsageError(
        f"branch {branch.number} kept the turn for {seconds:g} seconds in a plain await "
        f"({lines[-1] if lines else 'nowhere that is known'}), while other branches were ready: only durable awaits "
        "let other branches run. Put slow work into a step (ctx.run); do not wait for another branch in a plain await"
    )
