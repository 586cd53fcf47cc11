"""Protocol-buffer messages of other frameworks' files, counted before they are parsed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any

from google.protobuf import descriptor, descriptor_pb2, descriptor_pool, message, message_factory

from facemask_zoo.errors import WeightsError

_VARINT, _LENGTH = 0, 2
_MAX_VARINT_BYTES = 10
_FIXED_BYTES = {1: 8, 5: 4}
_MAX_MESSAGES = 500_000
_MAX_FIELDS = 4_000_000

_INTEGERS = (
    descriptor.FieldDescriptor.CPPTYPE_INT32,
    descriptor.FieldDescriptor.CPPTYPE_INT64,
    descriptor.FieldDescriptor.CPPTYPE_UINT32,
    descriptor.FieldDescriptor.CPPTYPE_UINT64,
    descriptor.FieldDescriptor.CPPTYPE_BOOL,
    descriptor.FieldDescriptor.CPPTYPE_ENUM,
)


@functools.cache
def load(name: str) -> Mapping[str, Any]:
    """Message classes, by name: text is checked to be UTF-8, and every field knows if it was set.

    They are in a pool of their own, so that they never meet a framework's.

    Args:
        name: Of a file in ``converters/schemas``.
    """
    compiled = resources.files("facemask_zoo.converters.schemas") / f"{name}.binpb"
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    classes = message_factory.GetMessages([file], descriptor_pool.DescriptorPool())
    return MappingProxyType({full.rpartition(".")[2]: kind for full, kind in classes.items()})


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
    key, offset = varint(data, offset)
    number, wire_type = key >> 3, key & 7
    if wire_type == _LENGTH:
        length, offset = varint(data, offset)
        return number, offset, offset + length
    if wire_type == _VARINT:
        offset = varint(data, offset)[1]
    return number, None, offset + _FIXED_BYTES.get(wire_type, 0)


def varint(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    """A number of as many bytes as it needs, and the offset behind it.

    Raises:
        IndexError: The bytes end before it does.
    """
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
