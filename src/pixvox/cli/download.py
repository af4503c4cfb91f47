"""Downloads what the service names by address, such as a provider's temporary URL of a finished picture."""

from __future__ import annotations

import http.client

# The light installs bring no HTTP client, and this is the caller's own traffic.
import urllib.request  # noqa: TID251

SECONDS = 60


def downloaded(uri: str) -> bytes:
    """Return what an http(s) address holds.

    Raises:
        OSError: It cannot be downloaded, or is no such address.
    """
    if not uri.startswith(("http://", "https://")):
        raise OSError(f"not an http or https address: {uri}")
    try:
        with urllib.request.urlopen(uri, timeout=SECONDS) as answer:  # noqa: S310, TID251 - the scheme is checked
            data: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise OSError(f"cannot download {uri}: {error}") from error
    return data
