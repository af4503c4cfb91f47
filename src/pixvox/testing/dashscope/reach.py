"""What the emulated vendor can fetch when a request names a URL: this machine, and pages that a test puts there.

The real service fetches from the whole internet; an emulator must not depend on it.
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

import aiohttp  # the vendor fetches here, not the service

if TYPE_CHECKING:
    from collections.abc import Mapping

# The service takes files up to 10 MB.
MOST_BYTES = 10 * 1024 * 1024

_LOCAL = ("127.0.0.1", "localhost", "::1")
_TIMEOUT = aiohttp.ClientTimeout(total=5)


class FetchError(Exception):
    """A URL could not be fetched."""


class Reach:
    """Fetches pages.

    Attributes:
        web: Bytes by URL, as if the internet had them.
    """

    def __init__(self) -> None:
        self.web: dict[str, bytes] = {}

    async def fetch(self, url: str, headers: Mapping[str, str]) -> bytes:
        """Return the bytes behind a URL.

        Args:
            url: ``oss://`` URLs are looked up in `web` only, since uploading is not emulated.
            headers: Of the request that names the URL: an ``oss://`` URL needs one of them.

        Raises:
            FetchError: It cannot be fetched, or is too large.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "oss" and headers.get("X-DashScope-OssResourceResolve", "").lower() != "enable":
            raise FetchError("An oss:// URL needs the header X-DashScope-OssResourceResolve.")
        if url in self.web:
            return self.web[url]
        if parts.scheme not in {"http", "https"} or parts.hostname not in _LOCAL:
            raise FetchError(f"{parts.scheme}://{parts.hostname} cannot be reached.")
        return await _downloaded(url)


async def _downloaded(url: str) -> bytes:
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session,
            session.get(url, raise_for_status=True) as response,
        ):
            data = await response.content.read(MOST_BYTES + 1)
            while len(data) <= MOST_BYTES and (more := await response.content.read(MOST_BYTES)):
                data += more
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FetchError(f"{url} cannot be fetched: {error}") from error
    if len(data) > MOST_BYTES:
        raise FetchError("The file is larger than 10 MB.")
    return data
