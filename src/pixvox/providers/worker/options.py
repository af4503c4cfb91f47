"""What callers may say to a worker directly, under the kind of this provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format

from pixvox.errors import InvalidRequestError, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf import struct_pb2

KIND = "worker"

# Our name of each option and the worker's; numbers above 0 but for a quality.
PICTURES: Mapping[str, str] = {
    "steps": "num_inference_steps",
    "quality": "quality",
    "true_cfg_scale": "true_cfg_scale",
}
SPEECH: Mapping[str, str] = {"seed": "seed", "max_new_tokens": "max_new_tokens"}
_QUALITIES = ("low", "medium", "high")
_WHOLE = frozenset({"steps", "seed", "max_new_tokens"})


def options_of(options: struct_pb2.Struct, known: Mapping[str, str], path: str) -> dict[str, object]:
    """Return what a caller gives for the worker, by the worker's names.

    Args:
        options: Of the request.
        known: Our names and the worker's.
        path: Of the options in the request.

    Raises:
        InvalidRequestError: They are not as documented.
    """
    if KIND not in options.fields:
        return {}
    given = json_format.MessageToDict(options.fields[KIND])
    if not isinstance(given, dict):
        raise _invalid(f"{path}.{KIND}", f"has to be an object with {', '.join(known)}")
    return {
        known.get(name, name): _checked(name, value, known, f"{path}.{KIND}.{name}") for name, value in given.items()
    }


def _checked(name: str, value: object, known: Mapping[str, str], path: str) -> object:
    if name not in known:
        raise _invalid(path, f"is not one of {', '.join(known)}")
    if name == "quality":
        if value not in _QUALITIES:
            raise _invalid(path, f"is not one of {', '.join(_QUALITIES)}")
        return value
    if not isinstance(value, float) or not 0 <= value < 2**31 or (value == 0 and name != "seed"):
        raise _invalid(path, "has to be a number above 0")
    if name not in _WHOLE:
        return value
    if not value.is_integer():
        raise _invalid(path, "has to be a whole number")
    return int(value)


def _invalid(path: str, description: str) -> InvalidRequestError:
    return InvalidRequestError("The provider's options are not as documented.", Violation(path, description))
