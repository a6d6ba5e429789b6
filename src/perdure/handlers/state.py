"""Names and types of state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload

from perdure.durable.serde import Serde, decode_value, encode_value, serde_for
from perdure.exceptions import UsageError

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
    """

    __slots__ = ("_default", "_default_data", "name", "serde", "type")

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
        self.name = name
        self.type = type
        self.serde = serde
        self._default = default
        self._default_data: bytes | None = None

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
        of = f"the default of state {self.name!r}"
        serde = self.serde if self.serde is not None else serde_for(self.type)
        if self._default_data is None:
            self._default_data = encode_value(serde, default, of)
        return cast("T", decode_value(serde, self._default_data, of))

    def __repr__(self) -> str:
        default = "" if self._default is _NO_DEFAULT else f", default={self._default!r}"
        return f"StateKey({self.name!r}, {self.type!r}{default})"
