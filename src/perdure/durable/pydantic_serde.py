"""JSON through pydantic, for types that contain a pydantic model. Needs the extra `perdure[pydantic]`."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError

from perdure.exceptions import SerdeError, UsageError

__all__ = ["PydanticSerde"]

T = TypeVar("T")

_QUOTED_VALUE = re.compile(r" \[input_value=.*?, input_type=\w+\]", re.DOTALL)


class PydanticSerde(Generic[T]):
    """Writes and reads one type with a pydantic `TypeAdapter`.

    Field aliases are used both ways, and computed fields are left out, so that what is written can be read again.
    Values are checked on their way out as well.
    """

    __slots__ = ("_adapter", "_type", "accepts_empty", "stable")

    content_type = "application/json"

    def __init__(self, annotation: Any) -> None:
        try:
            self._adapter: pydantic.TypeAdapter[T] = pydantic.TypeAdapter(annotation)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation) as error:
            raise UsageError(
                f"values of type {annotation} contain a pydantic model, so pydantic would have to write them, and it "
                f"cannot: {error}. Keep msgspec and attrs classes apart from pydantic models, or give a serde"
            ) from error
        self._type = annotation
        schema = self.schema()
        # Sets have no order that is the same in every process; pydantic marks them in its schema, and only there.
        self.stable: bool = schema is not None and b'"uniqueItems"' not in msgspec.json.encode(schema)
        try:
            self._adapter.validate_json(b"null")
        except pydantic.ValidationError:
            self.accepts_empty: bool = False
        else:
            self.accepts_empty = True

    def encode(self, value: T, /) -> bytes:
        """Return `value` as JSON."""
        try:
            return self._adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
        except PydanticSerializationError as error:
            # pydantic's own text quotes the values, which may be secrets, here and below.
            raise SerdeError(_QUOTED_VALUE.sub("", str(error))) from error

    def decode(self, data: bytes, /) -> T:
        """Return the validated value; nothing is read as a JSON null."""
        try:
            return self._adapter.validate_json(data or b"null")
        except pydantic.ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            raise SerdeError("; ".join(f"{fault['msg']} - at `{_path(fault['loc'])}`" for fault in faults)) from error

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the type, `None` when a part of it has none."""
        try:
            return self._adapter.json_schema() or None
        except PydanticInvalidForJsonSchema:
            return None

    def __repr__(self) -> str:
        return self._type.__qualname__ if isinstance(self._type, type) else str(self._type)


def _path(steps: tuple[int | str, ...]) -> str:
    """Return where in a value something is, as msgspec writes it."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
