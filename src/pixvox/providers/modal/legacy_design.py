"""The voice design of the earlier speech app on Modal: a description becomes a voice that says a text."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from pixvox.errors import OutcomeUnknownError
from pixvox.languages import language_name

if TYPE_CHECKING:
    from pixvox.providers.modal.endpoints import Endpoint

# The plans' own.
TOTAL_SECONDS = 180.0


class LegacyDesigner:
    """One call of `MODAL_ENDPOINT_VOICE_DESIGN`; see `pixvox.providers.modal.makings.Designer`.

    Args:
        endpoint: Of the app.
        seconds: The longest that a design takes.
    """

    def __init__(self, endpoint: Endpoint, seconds: float = TOTAL_SECONDS) -> None:
        self._endpoint = endpoint
        self._seconds = seconds

    async def designed(self, text: str, description: str, language_code: str) -> tuple[bytes, str]:
        """Return a WAV file and what Modal calls the call; see `Designer`."""
        fields = {"text": text, "language": language_name(language_code), "instruct": description}
        try:
            async with asyncio.timeout(self._seconds):
                return await self._endpoint.work(msgspec.json.encode(fields), "voice design")
        except TimeoutError as error:
            message = f"The design took longer than {self._seconds:g} s; it may be billed, and its voice is lost."
            metadata = {"provider_code": "", "provider_request_id": "", "replay": "ambiguous"}
            raise OutcomeUnknownError(message, metadata=metadata) from error
