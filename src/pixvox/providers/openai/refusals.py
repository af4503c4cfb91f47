"""What it means when an engine refuses: its status, code and words become one of our errors.

Engines wrap their complaints differently: ``{"error": {"message", "type", "code"}}``, ``{"error": "text"}``,
``{"detail": "text"}``, ``{"detail": [...]}``, or the page of a proxy. None of their words are handed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pixvox import errors
from pixvox.upstream import Ids, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE_SECONDS = 1.0

_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-correlation-id")
_NOT_IDENTIFIER = re.compile(r"[^A-Za-z0-9._:-]+")
_MAX_CODE = 64
_MAX_ID = 128


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an engine says went wrong.

    Attributes:
        status: Of the HTTP reply; 0 in an event stream.
        code: The engine's, or its ``type`` where it has no code; harmless, maybe empty.
        message: The engine's words, which must not be shown.
        request_id: The engine's id of the call, harmless, maybe empty.
        retry_after: Seconds that the reply asks to wait, or None.
        structured: Whether it is JSON, and so comes from the engine rather than from a proxy.
    """

    status: int = 0
    code: str = ""
    message: str = field(default="", repr=False)
    request_id: str = ""
    retry_after: float | None = None
    structured: bool = False


def complaint_of(reply: Reply) -> Complaint:
    """Return what a reply says that is no result."""
    code, message, structured = _read(reply.body)
    return Complaint(
        status=reply.status,
        code=code,
        message=message,
        request_id=request_id_of(reply),
        retry_after=reply.retry_after,
        structured=structured,
    )


def complaint_in(document: bytes, request_id: str = "") -> Complaint:
    """Return what an error event of a stream says."""
    code, message, structured = _read(document)
    return Complaint(code=code, message=message, request_id=request_id, structured=structured)


def request_id_of(reply: Reply) -> str:
    """Return the engine's id of a call, or an empty string."""
    return request_id_in(reply.headers)


def request_id_in(headers: Mapping[str, str]) -> str:
    """Return the engine's id of a call by the headers of a reply, or an empty string."""
    return _identifier(next((found for name in _REQUEST_ID_HEADERS if (found := headers.get(name))), ""), _MAX_ID)


def ids_of(reply: Reply) -> Ids:
    """Return what a reply calls itself; for `Upstream.origin`."""
    code = _read(reply.body)[0] if reply.status != 200 else ""
    return Ids(request=request_id_of(reply), code=code)


def retry_seconds(reply: Reply) -> float | None:
    """Return how long to wait before a refused request is sent again, None if it must not be; for `Upstream.origin`.

    A rate limit alone says that nothing was done, and that it passes; a bill that is overdue comes with the same status.
    """
    if reply.status != 429 or _kind(complaint_of(reply)) is not errors.RateLimitedError:
        return None
    return RATE_SECONDS


def error_of(complaint: Complaint, *, streaming: bool = False) -> errors.PixvoxError:
    """Return our error for a complaint.

    Args:
        complaint: Of the engine.
        streaming: Whether it came after the answer had begun, so that the work may have been done in part.
    """
    kind = _kind(complaint)
    metadata = {"provider_code": complaint.code, "provider_request_id": complaint.request_id}
    if streaming:
        metadata["replay"] = "committed"
        if kind is errors.ProviderUnavailableError:
            # It has begun, so that nobody may say that it did nothing.
            kind = errors.ProviderInternalError
    elif kind is errors.OutcomeUnknownError:
        metadata["replay"] = "ambiguous"
    retry_after = complaint.retry_after
    if kind is errors.RateLimitedError:
        retry_after = retry_after or RATE_SECONDS
    elif kind is not errors.ProviderUnavailableError:
        retry_after = None
    return kind(_SENTENCES[kind].format(status=complaint.status), metadata=metadata, retry_after=retry_after)


class _Inner(msgspec.Struct):
    message: object = None
    type: object = None
    code: object = None


class _Outer(msgspec.Struct):
    error: object = None
    detail: object = None
    message: object = None
    code: object = None


def _read(body: bytes) -> tuple[str, str, bool]:
    """Return the code, the words, and whether a body is JSON."""
    try:
        outer = msgspec.json.decode(body, type=_Outer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "", "", False
    said = outer.error if outer.error is not None else outer.detail
    if isinstance(said, dict):
        inner = msgspec.convert(said, _Inner)
        code = next((one for one in (inner.code, inner.type) if isinstance(one, str) and one), "")
        return _identifier(code, _MAX_CODE), _text(inner.message or said), True
    code = outer.code if isinstance(outer.code, str) else ""
    return _identifier(code, _MAX_CODE), _text(said if said is not None else outer.message), True


def _text(said: object) -> str:
    if said is None:
        return ""
    return said if isinstance(said, str) else msgspec.json.encode(said).decode()


def _identifier(text: str, longest: int) -> str:
    return _NOT_IDENTIFIER.sub("", text)[:longest]


def _kind(complaint: Complaint) -> type[errors.PixvoxError]:
    code, message = complaint.code.lower(), complaint.message.lower()
    if code in _BY_CODE:
        return _BY_CODE[code]
    for statuses, words, kind in _WORDS:
        if complaint.status in statuses and words.search(message):
            return kind
    return _by_status(complaint)


def _by_status(complaint: Complaint) -> type[errors.PixvoxError]:
    status = complaint.status
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return errors.ProviderConfigError
    if 400 <= status < 500:
        return errors.ProviderRejectedError
    if status == 502 and not complaint.structured:
        return errors.OutcomeUnknownError
    return errors.ProviderInternalError


_BY_CODE: dict[str, type[errors.PixvoxError]] = {
    "content_policy_violation": errors.ContentBlockedError,
    "moderation_blocked": errors.ContentBlockedError,
    "content_filter": errors.ContentBlockedError,
    "insufficient_quota": errors.ProviderBillingError,
    "billing_hard_limit_reached": errors.ProviderBillingError,
    "billing_not_active": errors.ProviderBillingError,
    "invalid_api_key": errors.ProviderCredentialsError,
    "model_not_found": errors.ProviderConfigError,
    "rate_limit_exceeded": errors.RateLimitedError,
    "voice_not_found": errors.VoiceNotFoundError,
}
_BY_STATUS: dict[int, type[errors.PixvoxError]] = {
    400: errors.InvalidParameterError,
    401: errors.ProviderCredentialsError,
    403: errors.ProviderAccessDeniedError,
    404: errors.ProviderConfigError,
    405: errors.ProviderConfigError,
    408: errors.ProviderTimeoutError,
    409: errors.ConflictError,
    413: errors.InvalidInputError,
    415: errors.InvalidInputError,
    422: errors.InvalidParameterError,
    429: errors.RateLimitedError,
    503: errors.ProviderUnavailableError,
    504: errors.ProviderTimeoutError,
}
_REFUSED = frozenset({400, 404, 422})
_FAILED = frozenset({500, 502, 503})
_WORDS: tuple[tuple[frozenset[int], re.Pattern[str], type[errors.PixvoxError]], ...] = (
    # The names of models are the operator's, so that a caller can do nothing about a wrong one. vLLM-Omni serves one model,
    # and calls the name of another one a bad request.
    (_REFUSED, re.compile(r"model mismatch|model\b.{0,200}\b(not found|does not exist)"), errors.ProviderConfigError),
    (
        # Xinference has one status for whatever its models do not like.
        _REFUSED | {500},
        re.compile(r"(invalid|unknown|unsupported) (voice|speaker)|voice\b.{0,200}\bnot (found|supported)"),
        errors.VoiceNotFoundError,
    ),
    (
        _FAILED,
        re.compile(r"\bmodel\b.{0,80}\b(loading|not (yet )?(ready|loaded)|warming)|\bloading\b.{0,40}\bmodel\b"),
        errors.ProviderUnavailableError,
    ),
)

_SENTENCES: dict[type[errors.PixvoxError], str] = {
    errors.InvalidParameterError: "The provider refused a value of the request.",
    errors.InvalidInputError: "The provider could not read the request or one of its files.",
    errors.ContentBlockedError: "The provider's policy forbids the request.",
    errors.VoiceNotFoundError: "The provider does not have the voice.",
    errors.ProviderBillingError: "The provider's account is overdue, not activated or out of quota.",
    errors.ProviderCredentialsError: "The provider refused the service's key.",
    errors.ProviderAccessDeniedError: "The provider's account may not do this.",
    errors.ProviderConfigError: "The provider does not know the configured model or address (status {status}).",
    errors.ProviderRejectedError: "The provider refused the call (status {status}).",
    errors.ConflictError: "The provider is busy with a conflicting call; try again later.",
    errors.RateLimitedError: "The provider's rate limit is used up, or its queue is full.",
    errors.ProviderInternalError: "The provider failed.",
    errors.ProviderTimeoutError: "The provider gave up on the work by its own clock; it may have been billed.",
    errors.ProviderUnavailableError: "The provider is overloaded, still loading its model, or down (status {status}).",
    errors.OutcomeUnknownError: (
        "A proxy answered in the provider's place (status {status}). The work may have been done and billed, so it was not"
        " repeated."
    ),
}
