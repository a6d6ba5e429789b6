"""When a failed try is tried again. Pure arithmetic: the clock is the caller's.

The delay after the n-th try is `initial_interval * factor ** (n - 1)` seconds, at most `max_interval`. Nothing random
is added: a delay that belongs to a step must be the same wherever it is computed.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from perdure.exceptions import UsageError

__all__ = ["LONGEST_DELAY", "Exhausted", "OnExhausted", "RetryPolicy"]

LONGEST_DELAY: Final = 365 * 24 * 3600.0
"""Seconds. Without `max_interval` an exponential delay would leave the numbers that protocol and clocks can hold."""

OnExhausted: TypeAlias = Literal["fail", "pause"]


class Exhausted(enum.Enum):
    """Why there is no further try."""

    ATTEMPTS = "max_attempts"
    DURATION = "max_duration"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and after which delays, something is tried again.

    It serves steps (`ctx.run(..., retry=...)`) and whole invocations (`Options(retry=...)`). A step whose policy is
    exhausted raises a `TerminalError` (`"fail"`) or pauses its invocation (`"pause"`); an invocation whose policy is
    exhausted ends with a failure, or is paused.

    Args:
        initial_interval: seconds before the second try.
        factor: what the interval is multiplied with after every further try; 1 keeps it constant.
        max_interval: the longest interval, in seconds; `None` for none.
        max_attempts: tries in total, the first included; `None` for any number.
        max_duration: seconds since the first try began, after which no new try is started; `None` for no end. Not for
            invocations.
        on_exhausted: what happens when there is no try left.

    Raises:
        UsageError: a value makes no sense; the message names it.
    """

    initial_interval: float = 0.05
    factor: float = 2.0
    max_interval: float | None = 10.0
    max_attempts: int | None = None
    max_duration: float | None = None
    on_exhausted: OnExhausted = "fail"

    def __post_init__(self) -> None:
        _check_number("initial_interval", self.initial_interval, at_least=0, unit=" seconds")
        _check_number("factor", self.factor, at_least=1)
        if self.max_interval is not None:
            _check_number("max_interval", self.max_interval, at_least=0, unit=" seconds")
            if self.max_interval < self.initial_interval:
                raise UsageError(
                    f"RetryPolicy: initial_interval ({self.initial_interval} s) is longer than max_interval "
                    f"({self.max_interval} s); raise max_interval, or set it to None"
                )
        if self.max_attempts is not None and (type(self.max_attempts) is not int or self.max_attempts < 1):
            raise UsageError(
                f"RetryPolicy: max_attempts counts tries, the first included, so it is a whole number from 1, not "
                f"{self.max_attempts!r}; None sets no limit"
            )
        if self.max_duration is not None:
            _check_number("max_duration", self.max_duration, at_least=0, unit=" seconds")
        if self.on_exhausted not in {"fail", "pause"}:
            raise UsageError(f"RetryPolicy: on_exhausted is 'fail' or 'pause', not {self.on_exhausted!r}")

    def next_delay(self, attempts: int, elapsed: float) -> float | Exhausted:
        """Return the seconds to wait before the next try, or why there is none.

        Args:
            attempts: tries made so far, at least 1.
            elapsed: seconds since the first of them began.
        """
        if self.max_attempts is not None and attempts >= self.max_attempts:
            return Exhausted.ATTEMPTS
        if self.max_duration is not None and elapsed >= self.max_duration:
            return Exhausted.DURATION
        longest = LONGEST_DELAY if self.max_interval is None else min(self.max_interval, LONGEST_DELAY)
        try:
            delay = self.initial_interval * self.factor ** (attempts - 1)
        except OverflowError:
            return float(longest) if self.initial_interval else 0.0
        return float(min(delay, longest))

    def tries_within(self, limit: float) -> int:
        """Return how many tries come before the first pause longer than `limit` seconds; 0 when there is none."""
        for tries in range(1, 1000):
            delay = self.next_delay(tries, 0)
            if isinstance(delay, Exhausted):
                return 0
            if delay > limit:
                return tries - 1
        return 0


def _check_number(name: str, value: float, *, at_least: float, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"RetryPolicy: {name} is a number{unit and ' of' + unit}, not {value!r}")
    if not math.isfinite(value) or value < at_least:
        raise UsageError(f"RetryPolicy: {name} is at least {at_least}{unit} and finite, not {value!r}")
