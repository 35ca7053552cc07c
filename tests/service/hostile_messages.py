"""Messages of the public API with hostile values in any of their fields."""

from __future__ import annotations

import json
import math
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

TEXTS = (
    "",
    "\0",
    "a\0b",
    " ",
    "'",
    '"',
    "\\",
    "%s%(x)s%",
    "{}",
    "$1",
    "; DROP TABLE owners; --",
    "public.owners",
    "crosskey.decision",
    "pg_catalog.pg_authid",
    ".",
    "a.b.c",
    "ctid",
    "\ud7ff\ue000\uffff\U0010ffff",
    "\u202e\u0301",
    "\r\n\t\x01\x7f",
    "x" * 70,
    "x" * 10_000,
    "NaN",
    "-0",
    "1e400",
    "9223372036854775808",
    "-170141183460469231731687303715884105729",
    "[" * 100,
    '{"a":',
    "infinity",
    "\\x",
    "\\N",
    "00000000-0000-4000-8000-000000000001",
)
NUMBERS = (0, 1, -1, 0.5, -0.0, 2.0**53, -(2.0**63), 1e308, 5e-324, math.inf, -math.inf, math.nan)
INTEGERS = (0, 1, -1, 7, 2**31 - 1, -(2**31))
LONG_INTEGERS = (*INTEGERS, 2**40, 2**63 - 1, -(2**63))
ENUM_NUMBERS = (-1, 3, 99, 2**31 - 1)
MAX_DEPTH = 38


class Hostility:
    """Makes and spoils messages; the same seed makes the same ones.

    `words` are names and values that mean something to the server, so that what is made gets beyond its first check.
    """

    def __init__(self, seed: int, words: list[str]) -> None:
        """Take the seed and the words."""
        self._random = random.Random(seed)
        self._words = words

    def spoilt(self, request: Message) -> Message:
        """A copy of a request with one to three of its fields changed, however deep they are."""
        made = type(request)()
        made.CopyFrom(request)
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            self._change(self._random.choice(list(_messages_in(made))))
        return made

    def made(self, kind: type[Message], depth: int = 0) -> Message:
        """A message of that kind in which any field may be anything."""
        message = kind()
        for field in kind.DESCRIPTOR.fields:
            if self._random.random() < 0.6:
                self._set(message, field, depth)
        return message

    def damaged(self, token: str) -> str:
        """A page token of which some characters are others, are missing or are too many."""
        characters = list(token)
        for _ in range(self._random.randint(1, 3)):
            place = self._random.randrange(len(characters) or 1)
            characters[place : place + self._random.randint(0, 2)] = self._random.choice(string.ascii_letters)
        return "".join(characters)

    def _change(self, message: Message) -> None:
        if isinstance(message, Struct):
            message.fields[self._text()].CopyFrom(self._value())
        elif isinstance(message, Value):
            message.CopyFrom(self._value())
        elif message.DESCRIPTOR.fields:
            self._set(message, self._random.choice(message.DESCRIPTOR.fields), 0)

    def _set(self, message: Message, field: Any, depth: int) -> None:
        if depth > 3:
            return
        make = self._maker(field, depth)
        if field.is_repeated:
            count = self._random.choice((0, 1, 1, 2, 5))
            message.ClearField(field.name)
            getattr(message, field.name).extend([made for made in (make() for _ in range(count)) if made is not None])
        elif field.message_type is not None:
            made = make()
            if made is not None:
                getattr(message, field.name).CopyFrom(made)
        else:
            setattr(message, field.name, make())

    def _maker(self, field: Any, depth: int) -> Callable[[], Any]:
        choice = self._random.choice
        match field.type:
            case FieldDescriptor.TYPE_MESSAGE:
                return lambda: self._message(field, depth)
            case FieldDescriptor.TYPE_STRING:
                return self._text
            case FieldDescriptor.TYPE_BYTES:
                return lambda: choice(
                    (b"", b"\0", b"\xff\xfe", b"\\N\t\\N\n", b"1\t2\n", b"x" * 10_000, b"\n" * 50, b"\\.")
                )
            case FieldDescriptor.TYPE_BOOL:
                return lambda: choice((True, False))
            case FieldDescriptor.TYPE_ENUM:
                return lambda: choice((*ENUM_NUMBERS, *(value.number for value in field.enum_type.values)))
            case FieldDescriptor.TYPE_INT64:
                return lambda: choice(LONG_INTEGERS)
            case FieldDescriptor.TYPE_INT32:
                return lambda: choice(INTEGERS)
            case FieldDescriptor.TYPE_UINT32:
                return lambda: choice((0, 1, 50, 2**31, 2**32 - 1))
        raise AssertionError(f"a field of type {field.type} is new here")

    def _message(self, field: Any, depth: int) -> Message:
        kind = message_factory.GetMessageClass(field.message_type)
        if kind is Struct:
            return self._struct()
        return self._value() if kind is Value else self.made(kind, depth + 1)

    def _text(self) -> str:
        return self._random.choice(self._words if self._random.random() < 0.5 else TEXTS)

    def _struct(self, depth: int = 0) -> Struct:
        return Struct(fields={self._text(): self._value(depth) for _ in range(self._random.choice((0, 1, 2, 4)))})

    def _value(self, depth: int = 0) -> Value:
        kind = self._random.randrange(8)
        if kind == 0:
            return Value(null_value=NullValue.NULL_VALUE)
        if kind == 1:
            return Value()
        if kind == 2:
            return Value(bool_value=True)
        if kind == 3:
            return Value(number_value=self._random.choice(NUMBERS))
        if kind == 4 and depth < 3:
            return Value(list_value=ListValue(values=[self._value(depth + 1) for _ in range(3)]))
        if kind == 5 and depth < 3:
            return Value(struct_value=self._struct(depth + 1))
        if kind == 6 and depth == 0:
            return _deep()
        return Value(string_value=self._text())


def _deep() -> Value:
    """As deep as a message may be, or nearly."""
    value = Value(number_value=1)
    for _ in range(MAX_DEPTH):
        value = Value(list_value=ListValue(values=[value]))
    return value


def _messages_in(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            members: list[Message] = list(value.values())
        else:
            members = list(value) if field.is_repeated else [value]
        for member in members:
            yield from _messages_in(member)


def shown(request: Message) -> str:
    """The request in one line, to be found again."""
    return f"{type(request).__name__} {json.dumps(str(request))[:2000]}"
