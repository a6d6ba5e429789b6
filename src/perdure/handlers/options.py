"""What can be said about services and handlers, apart from what they do.

One list serves every place: the options of a service hold for its handlers, a handler's own options win over them, and
`service.with_options(...)` puts others in their place when a service is bound. What nobody says is left to the runtime
that drives the handlers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from perdure.exceptions import UsageError
from perdure.machine.retry import RetryPolicy

if TYPE_CHECKING:
    from perdure.durable.codec import Codec
    from perdure.durable.serde import SerdeFactory

__all__ = ["OptionFields", "Options", "seconds"]


def seconds(duration: float | timedelta, what: str) -> float:
    """Return a duration in seconds.

    Args:
        duration: a number of seconds, or a `timedelta`.
        what: its name, for the error.

    Raises:
        UsageError: it is none, negative or not finite.
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise UsageError(f"{what} is a number of seconds or a timedelta, not {duration!r}")
    if not math.isfinite(duration) or duration < 0:
        raise UsageError(f"{what} is at least 0 seconds and finite, not {duration!r}")
    return float(duration)


class OptionFields(TypedDict, total=False):
    """The options as keyword arguments. `None` leaves an option unsaid, as leaving it out does."""

    inactivity_timeout: float | timedelta | None
    """After so long without progress the runtime asks the handler to suspend. Seconds."""
    abort_timeout: float | timedelta | None
    """After so long it breaks off an attempt that did not suspend when asked. Seconds."""
    journal_retention: float | timedelta | None
    """How long the journal of a completed invocation is kept. Seconds."""
    idempotency_retention: float | timedelta | None
    """How long the result of a request with an idempotency key is kept. Seconds. Not for the main handler of a
    workflow, which runs once per key anyway."""
    workflow_retention: float | timedelta | None
    """How long the result, the state and the promises of a completed workflow are kept. Seconds. Only for workflows
    and their main handlers."""
    lazy_state: bool | None
    """Do not send the state along when an attempt starts; read key by key. Not for services, which have no state."""
    ingress_private: bool | None
    """Only other handlers may call."""
    retry: RetryPolicy | None
    """How attempts of an invocation are repeated. `max_duration` cannot be set here."""
    documentation: str | None
    """For people who look at the service; the docstring when it is not given."""
    metadata: Mapping[str, str] | None
    """Pairs of text shown by the admin API."""
    serde: SerdeFactory | None
    """From annotations to serdes, in place of `perdure.serde_for`."""
    codec: Codec | None
    """Stands on top of every serde: encryption, compression. `perdure.PLAIN` for none."""


_DURATIONS: Final = frozenset(
    {"inactivity_timeout", "abort_timeout", "journal_retention", "idempotency_retention", "workflow_retention"}
)
_FLAGS: Final = frozenset({"lazy_state", "ingress_private"})


@dataclass(frozen=True, init=False, slots=True)
class Options:
    """Options of a service or a handler. `OptionFields` describes each.

    Durations are given as seconds or `timedelta` and held as seconds.

    Raises:
        UsageError: a value makes no sense, or there is no such option.
    """

    inactivity_timeout: float | None = None
    abort_timeout: float | None = None
    journal_retention: float | None = None
    idempotency_retention: float | None = None
    workflow_retention: float | None = None
    lazy_state: bool | None = None
    ingress_private: bool | None = None
    retry: RetryPolicy | None = None
    documentation: str | None = None
    metadata: Mapping[str, str] | None = None
    serde: SerdeFactory | None = None
    codec: Codec | None = None

    def __init__(self, **options: Unpack[OptionFields]) -> None:
        unknown = options.keys() - OptionFields.__annotations__.keys()
        if unknown:
            raise UsageError(
                f"there is no option {', '.join(map(repr, sorted(unknown)))}; there are "
                f"{', '.join(OptionFields.__annotations__)}"
            )
        given: Mapping[str, Any] = options
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, given.get(field.name)))

    def over(self, outer: Options) -> Options:
        """Return `outer` with what is said here in its place, option by option."""
        return Options(**(outer.given() | self.given()))

    def given(self) -> OptionFields:
        """Return the options that are said."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in said.items() if value is not None}  # type: ignore[return-value]  # the fields are those of the TypedDict, which a test compares

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self.given().items())})"


def _checked(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _DURATIONS:
        return seconds(value, name)
    if name in _FLAGS and not isinstance(value, bool):
        raise UsageError(f"{name} is True or False, not {value!r}")
    if name == "retry":
        return _checked_retry(value)
    if name == "documentation" and not isinstance(value, str):
        raise UsageError(f"documentation is text, not {value!r}")
    if name == "metadata":
        return _checked_metadata(value)
    return value


def _checked_retry(policy: Any) -> RetryPolicy:
    if not isinstance(policy, RetryPolicy):
        raise UsageError(f"retry is a RetryPolicy, not {policy!r}")
    if policy.max_duration is not None:
        raise UsageError(
            "the retry policy of an invocation cannot have a max_duration: runtimes count attempts. Set max_attempts, "
            "or give the policy to ctx.run"
        )
    return policy


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str) for name, value in metadata.items()
    ):
        raise UsageError(f"metadata is a mapping of text to text, not {metadata!r}")
    return dict(metadata)
