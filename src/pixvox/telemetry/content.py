"""What callers sent, on the spans of operations where the operator asks for it: words alone, and not too many.

Source: "Recording content on attributes" of https://github.com/open-telemetry/semantic-conventions-genai, the form of
`gen_ai.input.messages`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeVar

from pixvox.telemetry.names import GEN_AI_INPUT_MESSAGES, GEN_AI_SYSTEM_INSTRUCTIONS

if TYPE_CHECKING:
    from opentelemetry.trace import Span

# Of each text. Collectors commonly refuse a span of some 64 KiB.
MAX_CHARACTERS = 4096

T = TypeVar("T")


def put_content(span: Span, *texts: str, instructions: str = "") -> None:
    """Put on a span what a caller asked with, each text cut to `MAX_CHARACTERS`.

    Args:
        span: Of the operation.
        texts: What is to be shown, said or done; empty ones are left out.
        instructions: How.
    """
    if parts := [_part(text) for text in texts if text]:
        span.set_attribute(GEN_AI_INPUT_MESSAGES, _json([{"role": "user", "parts": parts}]))
    if instructions:
        span.set_attribute(GEN_AI_SYSTEM_INSTRUCTIONS, _json([_part(instructions)]))


class Overheard(AsyncIterator[T]):
    """A text that passes on its way to a provider.

    Attributes:
        said: Its beginning, at most one character more than is shown.
    """

    def __init__(self, text: AsyncIterator[T]) -> None:
        self.said = ""
        self._text = text

    async def __anext__(self) -> T:
        piece = await anext(self._text)
        if isinstance(piece, str):
            self.said = (self.said + piece)[: MAX_CHARACTERS + 1]
        return piece


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
