"""What the payloads of the services have in common: JSON objects with names in camel case, bytes, durations."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

__all__ = ["ByteList", "JsonObject", "Milliseconds"]


class JsonObject(msgspec.Struct, frozen=True, rename="camel"):
    """A JSON object; members that are not known are ignored."""


ByteList: TypeAlias = list[Annotated[int, msgspec.Meta(ge=0, le=255)]]
"""Bytes as the contract writes them: a JSON array of integers."""

Milliseconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
