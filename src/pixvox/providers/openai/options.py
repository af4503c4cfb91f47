"""What callers may say to the engine directly, under the kind of this provider, and how it is wrapped for some engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from google.protobuf import json_format

from pixvox.errors import InvalidRequestError, Violation

if TYPE_CHECKING:
    from google.protobuf import struct_pb2

KIND = "openai"

_RENAMED = {"instructions": "instruct"}


def options_of(options: struct_pb2.Struct, taken: frozenset[str], path: str) -> dict[str, object]:
    """Return the members that a caller gives for the engine.

    Args:
        options: Of the request.
        taken: Members that the service sets.
        path: Of the options in the request.

    Raises:
        InvalidRequestError: They are no object, or hold one of `taken`.
    """
    if KIND not in options.fields:
        return {}
    given = json_format.MessageToDict(options)[KIND]
    if not isinstance(given, dict):
        raise _invalid(f"{path}.{KIND}", "has to be an object of the engine's parameters")
    if clashes := sorted(taken.intersection(given)):
        raise _invalid(f"{path}.{KIND}.{clashes[0]}", "is set by the service; use the request's own field")
    return {name: _whole(value) for name, value in given.items()}


def wrapped(members: dict[str, object], plain: frozenset[str]) -> dict[str, object]:
    """Return members of which all that are not `plain` stand in ``kwargs``, as JSON in a string, by Xinference's names."""
    inner = {_RENAMED.get(name, name): value for name, value in members.items() if name not in plain}
    outer = {name: value for name, value in members.items() if name in plain}
    return outer | ({"kwargs": msgspec.json.encode(inner).decode()} if inner else {})


def _whole(value: object) -> object:
    """Return a value whose whole numbers are integers: a Struct has none, and engines check the types."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(one) for name, one in value.items()}
        case list():
            return [_whole(one) for one in value]
        case _:
            return value


def _invalid(path: str, description: str) -> InvalidRequestError:
    return InvalidRequestError("The provider's options are not as documented.", Violation(path, description))
