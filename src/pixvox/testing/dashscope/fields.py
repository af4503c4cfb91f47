"""Reads fields of a request's JSON, and refuses those of the wrong type or out of range as the vendor does.

The vendor's words for most faults are not documented; the code is (``InvalidParameter``, HTTP 400).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pixvox.testing.dashscope.envelope import RefusedError, invalid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    JsonObject: TypeAlias = Mapping[str, object]

_Number = TypeVar("_Number", int, float)


def model_at(body: JsonObject) -> str:
    """Return the model's name."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise RefusedError(400, "BadRequest.EmptyModel", "The request has no model.")
    return name


def input_at(body: JsonObject) -> JsonObject:
    """Return the ``input`` object."""
    value = body.get("input")
    if not isinstance(value, dict) or not value:
        raise RefusedError(400, "BadRequest.EmptyInput", "The request has no input.")
    return value


def object_at(parent: JsonObject, name: str) -> JsonObject:
    """Return a member object; an absent one is empty."""
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"{name} must be an object.")
    return value


def list_at(parent: JsonObject, name: str) -> Sequence[object]:
    """Return a member array; an absent one is empty."""
    value = parent.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise invalid(f"{name} must be an array.")
    return value


def text_at(parent: JsonObject, name: str, *, longest: int | None = None) -> str:
    """Return a text that must be there and not blank."""
    value = optional_text_at(parent, name, longest=longest)
    if value is None or not value.strip():
        raise invalid(f"{name} is required.")
    return value


def optional_text_at(parent: JsonObject, name: str, *, longest: int | None = None) -> str | None:
    """Return a text of at most `longest` characters, or None."""
    value = parent.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid(f"{name} must be a string.")
    if longest is not None and len(value) > longest:
        raise invalid(f"{name} has {len(value)} characters, at most {longest} are allowed.")
    return value


def whole_at(parent: JsonObject, name: str, default: int, limits: tuple[int, int]) -> int:
    """Return a whole number within limits, both included."""
    value = parent.get(name)
    if value is None:
        return default
    # True is an int in Python, but no number in JSON.
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{name} must be a whole number.")
    return _within(name, value, limits)


def number_at(parent: JsonObject, name: str, default: float, limits: tuple[float, float]) -> float:
    """Return a number within limits, both included."""
    value = parent.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(f"{name} must be a number.")
    return _within(name, value, limits)


def truth_at(parent: JsonObject, name: str, *, default: bool) -> bool:
    """Return true or false."""
    value = parent.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(f"{name} must be true or false.")
    return value


def choice_at(parent: JsonObject, name: str, default: str, choices: Collection[str]) -> str:
    """Return one of the allowed texts, which are case-sensitive."""
    value = optional_text_at(parent, name)
    if value is None:
        return default
    if value not in choices:
        raise invalid(f"{name} must be one of {', '.join(choices)}.")
    return value


def _within(name: str, value: _Number, limits: tuple[float, float]) -> _Number:
    low, high = limits
    if not low <= value <= high:
        raise invalid(f"{name} must be from {low} to {high}.")
    return value
