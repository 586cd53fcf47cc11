"""Protocol-buffer messages from a few lines of ``.proto`` text: no compiler, no framework.

Only the fields that the zoo touches are declared; protobuf keeps the others as unknown fields.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor, descriptor_pb2, descriptor_pool, message, message_factory

from facemask_zoo.errors import WeightsError

_MESSAGE = re.compile(r"message\s+(\w+)\s*\{([^}]*)\}")
_ENUM = re.compile(r"enum\s+(\w+)\s*\{([^}]*)\}")
_ENUM_VALUE = re.compile(r"(\w+)\s*=\s*(\d+)")
_FIELD = re.compile(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*(\[packed\])?\s*;")
_Field = descriptor_pb2.FieldDescriptorProto

_VARINT, _LENGTH = 0, 2
_MAX_VARINT_BYTES = 10
_FIXED_BYTES = {1: 8, 5: 4}
_MAX_MESSAGES = 200_000
_MAX_FIELDS = 4_000_000
_SCALARS = dict(_Field.Type.items())

_INTEGERS = (
    descriptor.FieldDescriptor.CPPTYPE_INT32,
    descriptor.FieldDescriptor.CPPTYPE_INT64,
    descriptor.FieldDescriptor.CPPTYPE_UINT32,
    descriptor.FieldDescriptor.CPPTYPE_UINT64,
    descriptor.FieldDescriptor.CPPTYPE_BOOL,
    descriptor.FieldDescriptor.CPPTYPE_ENUM,
)


def declare(package: str, text: str) -> dict[str, Any]:
    """Message classes, by name: text is checked to be UTF-8, and every field knows if it was set.

    Args:
        package: A name of its own, so that the messages never meet a framework's.
        text: Flat ``message Name { [repeated] type name = 1 [[packed]]; ... }`` blocks. Types are
            protobuf's scalars, or messages or flat ``enum Name { VALUE = 0; ... }`` of the same
            text. Declare an enum whose names do not matter as ``int32``, a map as a repeated
            message of ``key = 1`` and ``value = 2``.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for name, body in _ENUM.findall(text):
        values = file.enum_type.add(name=name).value
        for value, number in _ENUM_VALUE.findall(body):
            values.add(name=value, number=int(number))
    enums = {kind.name for kind in file.enum_type}
    for name, body in _MESSAGE.findall(text):
        kind = file.message_type.add(name=name)
        for repeated, type_name, field, number, packed in _FIELD.findall(body):
            kind.field.append(_field(package, type_name, field, int(number), bool(repeated)))
            if type_name in enums:
                kind.field[-1].type = _Field.TYPE_ENUM
            kind.field[-1].options.packed = bool(packed)
            if not repeated:
                _track_presence(kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        kind.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{package}.{kind.name}")
        )
        for kind in file.message_type
    }


def parse(kind: Any, data: bytes) -> Any:
    """A message from its bytes; protobuf bounds the nesting.

    Raises:
        WeightsError: The bytes are no such message, or hold an absurd number of them.
    """
    check_counts(kind, data)
    try:
        return kind.FromString(data)
    except (message.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WeightsError(f"Not a whole {kind.__name__} message: {error}") from error


def check_counts(kind: Any, data: bytes) -> None:
    """Count what is in the bytes of a message before protobuf makes objects of it.

    Two bytes of a file become a hundred in memory where they are a message of their own.

    Args:
        kind: Class of the message.
        data: Its bytes.

    Raises:
        WeightsError: No network needs as many messages and fields, or the last one is cut off.
    """
    messages, fields = _MAX_MESSAGES, _MAX_FIELDS
    spans = [(0, len(data), kind.DESCRIPTOR)]
    try:
        while spans:
            offset, end, kind_of = spans.pop()
            while offset < end:
                number, inner, offset = _skip_field(data, offset)
                field = kind_of.fields_by_number.get(number)
                if inner is not None and field is not None:
                    messages -= 1
                    if field.message_type is not None:
                        spans.append((inner, min(offset, end), field.message_type))
                    elif field.cpp_type in _INTEGERS:  # packed: a byte may become eight
                        fields -= offset - inner
                fields -= 1
                if messages < 0 or fields < 0:
                    raise WeightsError(f"A {kind.__name__} of that many parts holds no weights.")
    except IndexError as error:
        raise WeightsError(f"Not a whole {kind.__name__} message.") from error


def _skip_field(data: bytes, offset: int) -> tuple[int, int | None, int]:
    """Number of the field at `offset`, where its content begins if it has a length, and its end."""
    key, offset = _varint(data, offset)
    number, wire_type = key >> 3, key & 7
    if wire_type == _LENGTH:
        length, offset = _varint(data, offset)
        return number, offset, offset + length
    if wire_type == _VARINT:
        offset = _varint(data, offset)[1]
    return number, None, offset + _FIXED_BYTES.get(wire_type, 0)


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        byte = data[offset + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, offset + index + 1
    raise IndexError("the number has no end")


def serialize(value: Any) -> bytes:
    """The bytes of a message; the same message gives the same bytes."""
    return bytes(value.SerializeToString(deterministic=True))


def _track_presence(kind: descriptor_pb2.DescriptorProto) -> None:
    """Mark the last field as proto3's compiler marks an ``optional`` one."""
    field = kind.field[-1]
    field.proto3_optional = True
    field.oneof_index = len(kind.oneof_decl)
    kind.oneof_decl.add(name=f"_{field.name}")


def _field(package: str, kind: str, name: str, number: int, repeated: bool) -> Any:
    field = _Field(
        name=name,
        number=number,
        label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
    )
    scalar = _SCALARS.get(f"TYPE_{kind.upper()}")
    if scalar is not None:
        field.type = scalar
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
    return field
