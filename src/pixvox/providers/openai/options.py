"""What callers may say to the engine directly, under the kind of this provider, and how it is wrapped for some engines."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import msgspec
from google.protobuf import json_format

from pixvox.errors import InvalidRequestError, Violation

if TYPE_CHECKING:
    from google.protobuf import struct_pb2

KIND = "openai"

# How the members are named by which engines open files, write them, or fetch addresses.
_OPENED = re.compile(r"(path|url|uri|(^|_)(file|dir))s?$")
_RENAMED = {"instructions": "instruct"}


def options_of(options: struct_pb2.Struct, taken: frozenset[str], path: str) -> dict[str, object]:
    """Return the members that a caller gives for the engine.

    Args:
        options: Of the request.
        taken: Members that the service sets.
        path: Of the options in the request.

    Raises:
        InvalidRequestError: They are no object, or hold one of `taken`, or something that engines would open or fetch, at any
            depth.
    """
    if KIND not in options.fields:
        return {}
    given = json_format.MessageToDict(options.fields[KIND])
    if not isinstance(given, dict):
        raise _invalid(f"{path}.{KIND}", "has to be an object of the engine's parameters")
    _check(given, taken, f"{path}.{KIND}")
    return {name: _whole(value) for name, value in given.items()}


def wrapped(members: dict[str, object], plain: frozenset[str]) -> dict[str, object]:
    """Return members of which all that are not `plain` stand in ``kwargs``, as JSON in a string, by Xinference's names."""
    inner = {_RENAMED.get(name, name): value for name, value in members.items() if name not in plain}
    outer = {name: value for name, value in members.items() if name in plain}
    return outer | ({"kwargs": msgspec.json.encode(inner).decode()} if inner else {})


def _check(value: object, taken: frozenset[str], path: str) -> None:
    """Refuse what a caller may not say."""
    match value:
        case dict():
            for name, one in value.items():
                # Engines that are written in Go read the names of members in any case.
                if name.casefold() in taken:
                    raise _invalid(f"{path}.{name}", "is set by the service; use the request's own field")
                if _OPENED.search(name.casefold()):
                    raise _invalid(
                        f"{path}.{name}", "names a file or an address, which is for the operator alone to do"
                    )
                _check(one, taken, f"{path}.{name}")
        case list():
            for one in value:
                _check(one, taken, path)
        case str() if value.lstrip()[:1] in {"{", "["}:
            # Forms have objects as JSON in a string.
            with contextlib.suppress(msgspec.DecodeError):
                _check(msgspec.json.decode(value), taken, path)


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
