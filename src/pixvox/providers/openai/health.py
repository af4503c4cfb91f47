"""What engines say of how they are: a status, or Prometheus' text with the number of their requests.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/; the names are those of vLLM, vLLM-Omni and our worker.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pixvox import errors
from pixvox.providers.openai.refusals import complaint_of, error_of
from pixvox.upstream.pool import Decline, Load, Probe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.providers.openai.dialects import Dialect
    from pixvox.upstream import Origin, Reply

_REQUESTS = re.compile(
    rb"^(vllm|vllm_omni|worker)[:_](?:num_requests_running|num_requests_waiting|queue_depth|running)(?:\{[^}\n]*\})?"
    rb"[ \t]+([0-9.eE+]+)",
    re.MULTILINE,
)


def probe_of(dialect: Dialect, origins: Mapping[str, Origin], seconds: float) -> Probe | None:
    """Return how engines are asked how they are, None if they are not.

    Args:
        dialect: Of the engines.
        origins: Of their roots, by their base addresses.
        seconds: How often; 0 is never.
    """
    if not dialect.health or not seconds:
        return None
    return Probe(dialect.health, _told if dialect.says_load else _well, seconds, origins)


def root_of(url: str) -> str:
    """Return the address of an engine, of which the version of its API is no part."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/v1"), "", ""))


def declined(reply: Reply) -> Decline | None:
    """Return why an engine did no work, if that is what its reply says; for `pixvox.upstream.pool.Pool`."""
    if reply.status < 400:
        return None
    match error_of(complaint_of(reply)):
        case errors.RateLimitedError():
            return Decline.BUSY
        case errors.ProviderUnavailableError():
            return Decline.DOWN
        case _:
            return None


def _well(reply: Reply) -> Load:
    # A version that has no such route is not ill for that.
    return Load(ready=reply.status < 500)


def _told(reply: Reply) -> Load:
    # One engine may count the same requests under two families of names.
    counts: defaultdict[bytes, float] = defaultdict(float)
    for family, count in _REQUESTS.findall(reply.body):
        counts[family] += _number(count)
    return Load(ready=reply.status < 500, depth=int(max(counts.values(), default=0.0)))


def _number(text: bytes) -> float:
    try:
        # No engine has that many, and no number beyond is an integer.
        return min(float(text), 1e6)
    except ValueError:
        return 0.0
