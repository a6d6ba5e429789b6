"""Names and types of state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload

from perdure.durable.serde import Serde, decode_value, encode_value, serde_for
from perdure.exceptions import SerdeError, UsageError

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["StateKey"]

T = TypeVar("T")
V = TypeVar("V")

_NO_DEFAULT: Final[Any] = object()
_UNCHANGEABLE: Final = frozenset({bool, int, float, str, bytes, type(None)})


class StateKey(Generic[T]):
    """One key of the state of an object or a workflow, with the type of its value.

    ::

        left = StateKey("left", int, default=10)  # reads as int
        note = StateKey("note", str)              # reads as str | None

    Args:
        name: the key, as the runtime knows it.
        type: the type of the value.
        default: what is read while nothing is stored. Every read gets a copy of its own, so a list or a dict is safe.
        serde: writes and reads the value, in place of the serde of its type.

    Raises:
        UsageError: the default is not of the type, or values of the type cannot be written.
    """

    __slots__ = ("_default", "_default_copy", "name", "serde", "type")

    @overload
    def __init__(self, name: str, type: TypeForm[T], *, default: T, serde: Serde[T] | None = None) -> None: ...

    @overload
    def __init__(self: StateKey[V | None], name: str, type: TypeForm[V], *, serde: Serde[V] | None = None) -> None: ...

    def __init__(
        self,
        name: str,
        type: Any,  # noqa: A002 - the word that users know
        *,
        default: Any = _NO_DEFAULT,
        serde: Serde[Any] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise UsageError(f"a state key needs a name, not {name!r}")
        self.name: str = name
        self.type: Any = type
        self.serde: Serde[Any] | None = serde
        self._default = default
        self._default_copy: tuple[Serde[Any], bytes] | None = None
        if default is not _NO_DEFAULT:
            self._check_default()

    def _check_default(self) -> None:
        """Type checkers cannot see that a default is of another type, so it is tried at once."""
        try:
            self._default_copy = self._write_default()
        except SerdeError as error:
            raise UsageError(f"{self!r}: {error}") from error
        except UsageError as error:
            if not isinstance(error.__cause__, NameError):
                raise
            # The type names a class that its module defines further down: tried again when the default is read.

    def _write_default(self) -> tuple[Serde[Any], bytes]:
        serde = self.serde if self.serde is not None else serde_for(self.type)
        of = f"the default of state {self.name!r}"
        data = encode_value(serde, self._default, of)
        decode_value(serde, data, of)
        return serde, data

    def default(self) -> T:
        """Return what is read while nothing is stored: the default, or `None` when there is none.

        Raises:
            SerdeError: the default is not of the key's type.
        """
        default = self._default
        if default is _NO_DEFAULT:
            return cast("T", None)
        if default.__class__ in _UNCHANGEABLE:
            return cast("T", default)
        if self._default_copy is None:
            self._default_copy = self._write_default()
        serde, data = self._default_copy
        return cast("T", serde.decode(data))

    def __repr__(self) -> str:
        default = "" if self._default is _NO_DEFAULT else f", default={self._default!r}"
        return f"StateKey({self.name!r}, {self.type!r}{default})"
