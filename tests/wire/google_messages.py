"""The messages of `tests.protocol_table` as classes of Google's protobuf runtime, and the way there and back.

Nothing here reads the table in the code: the descriptor is built from the literal, so that Google's runtime judges the
codec by the protocol and not by what the codec thinks of it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message as GoogleMessage

from perdure.wire import messages
from tests.protocol_table import ENUMS, SHAPES, FieldLine

_Proto = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "uint32": _Proto.TYPE_UINT32,
    "uint64": _Proto.TYPE_UINT64,
    "bool": _Proto.TYPE_BOOL,
    "bytes": _Proto.TYPE_BYTES,
    "string": _Proto.TYPE_STRING,
}
_PACKAGE = "perdure_table"


def _field_name(line: FieldLine) -> str:
    return f"{line.attribute}_{line.number}" if line.presence == "oneof" else line.attribute


def _add_field(message: descriptor_pb2.DescriptorProto, line: FieldLine) -> None:
    field = message.field.add(name=_field_name(line), number=line.number)
    field.label = _Proto.LABEL_REPEATED if line.presence == "repeated" else _Proto.LABEL_OPTIONAL
    if line.type in _SCALARS:
        field.type = _SCALARS[line.type]
    else:
        field.type = _Proto.TYPE_ENUM if line.type in ENUMS else _Proto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{line.type}"
    oneof = ""
    if line.presence == "oneof":
        oneof = line.attribute
    elif line.presence == "optional" and line.type in _SCALARS:
        field.proto3_optional = True  # which protobuf models as a oneof of its own
        oneof = f"_{line.attribute}"
    if oneof:
        names = [declared.name for declared in message.oneof_decl]
        if oneof not in names:
            message.oneof_decl.add(name=oneof)
            names.append(oneof)
        field.oneof_index = names.index(oneof)


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="table.proto", package=_PACKAGE, syntax="proto3")
    for name, members in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, member in members.items():
            enum.value.add(name=f"{name}_{member}", number=number)
    for name, shape in SHAPES.items():
        message = file.message_type.add(name=name)
        # Declared oneofs come before the synthetic ones of optional fields.
        for line in sorted(shape.fields, key=lambda line: line.presence != "oneof"):
            _add_field(message, line)
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())

GOOGLE: dict[str, type[GoogleMessage]] = {
    name: message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in SHAPES
}
"""Google's class for each message and part of the table."""


def to_google(struct: msgspec.Struct) -> GoogleMessage:
    """The same data as Google's message."""
    name = type(struct).__name__
    message = GOOGLE[name]()
    for line in SHAPES[name].fields:
        value = getattr(struct, line.attribute)
        if value is None or (line.presence == "oneof" and type(value).__name__ != (line.wrapper or line.type)):
            continue
        if line.wrapper and isinstance(value, msgspec.Struct):
            (value,) = msgspec.structs.astuple(value)
        field = _field_name(line)
        if line.presence == "repeated":
            getattr(message, field).extend(map(_value_to_google, value))
        elif isinstance(value, msgspec.Struct):
            getattr(message, field).CopyFrom(to_google(value))
        else:
            setattr(message, field, value)
    return message


def _value_to_google(value: object) -> object:
    return to_google(value) if isinstance(value, msgspec.Struct) else value


def from_google(message: GoogleMessage) -> msgspec.Struct:
    """The same data as perdure's struct. Unknown enum numbers become member 0, as `protocol.proto` wants them read."""
    name = message.DESCRIPTOR.name
    values: dict[str, Any] = {attribute: False for _, attribute in SHAPES[name].flags}
    for line in SHAPES[name].fields:
        field = _field_name(line)
        value: Any = getattr(message, field)
        if line.presence == "oneof":
            if message.HasField(field):
                values[line.attribute] = _wrapped(line, value)
        elif line.presence == "optional":
            values[line.attribute] = _value_from_google(line, value) if message.HasField(field) else None
        elif line.presence == "repeated":
            values[line.attribute] = tuple(_value_from_google(line, item) for item in value)
        else:
            values[line.attribute] = _value_from_google(line, value)
    struct: msgspec.Struct = getattr(messages, name)(**values)
    return struct


def _wrapped(line: FieldLine, value: Any) -> object:
    if line.wrapper in {"", "int", "str"}:
        return _value_from_google(line, value)
    return getattr(messages, line.wrapper)(value)


def _value_from_google(line: FieldLine, value: Any) -> object:
    if line.type in ENUMS:
        return getattr(messages, line.type)(value if value in ENUMS[line.type] else 0)
    return from_google(value) if isinstance(value, GoogleMessage) else value
