"""What it means when a deployment refuses: the edge's own refusals told from the worker's, and each become one of our errors.

The worker answers in JSON, the edge in plain text that begins with ``modal-http:``. Source of the edge's texts: Modal's
guides, and public code that reads them, as gathered in the project's reference; none was seen at the service itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import msgspec

from pixvox import errors
from pixvox.upstream import Ids, Reply

CALL_ID = "__modal_function_call_id"
RATE_SECONDS = 1.0

_NOT_IDENTIFIER = re.compile(r"[^A-Za-z0-9._:-]+")
_EDGE = "modal-http"
# Waiting does not help, so that it counts without the edge's prefix, too.
_SPENT = "spend limit"
# What says of a job how it is has no more.
_MOST_JOB_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why there is no picture.

    Attributes:
        status: Of the reply.
        edge: Whether it is the edge's own, or that of something else that is not the worker.
        words: What it is by: the worker's type of error, or the edge's text in lower case.
        code: For our error's metadata.
        retry_after: Seconds that the reply asks to wait, or None.
    """

    status: int
    edge: bool
    words: str
    code: str
    retry_after: float | None

    @property
    def spent(self) -> bool:
        """Whether money is what is missing."""
        return self.edge and self.status == 429 and _SPENT in self.words

    @property
    def cold(self) -> bool:
        """Whether no container takes requests yet, so that nothing was done."""
        if self.status != 503:
            return False
        return self.edge or self.words in {"unavailable_error", "loading"}


def complaint_of(reply: Reply) -> Complaint:
    """Return what a reply says that is no result."""
    worker = _worker(reply.body)
    if worker is None:
        words = reply.body[:512].decode(errors="replace").strip().lower()
        known = words.startswith(_EDGE) or _SPENT in words
        return Complaint(reply.status, True, words if known else "", _EDGE if known else "", reply.retry_after)
    return Complaint(reply.status, False, worker, identifier(worker, 64), reply.retry_after)


def retry_seconds(reply: Reply) -> float | None:
    """Return how long to wait before a refused request is sent again, None if it must not be; for `Upstream.origin`."""
    if reply.status != 429 or complaint_of(reply).spent:
        return None
    return RATE_SECONDS


def ids_of(reply: Reply) -> Ids:
    """Return what a reply calls itself, and the work that it is about; for `Upstream.origin`."""
    code = complaint_of(reply).code if reply.status >= 400 else ""
    return Ids(request_id_of(reply), task=call_id(reply) or _job_id(reply), code=code)


def call_id(reply: Reply) -> str:
    """Return what Modal calls the work that a redirect is about, or an empty string."""
    try:
        query = parse_qs(urlsplit(reply.headers.get("Location", "")).query)
    except ValueError:
        return ""
    return identifier(query.get(CALL_ID, [""])[0])


def request_id_of(reply: Reply) -> str:
    """Return the id of the call by the headers, or an empty string."""
    return identifier(reply.headers.get("Modal-Function-Call-Id", "") or reply.headers.get("X-Request-Id", ""))


def identifier(text: str, longest: int = 128) -> str:
    """Return a code or an id of theirs without anything that has no place in one."""
    return _NOT_IDENTIFIER.sub("", text)[:longest]


def error_of(complaint: Complaint, *, request_id: str = "", followed: bool = False) -> errors.PixvoxError:
    """Return our error for a complaint; ``provider_code`` and ``provider_request_id`` are always in its metadata.

    Args:
        complaint: Of the edge or of the worker.
        request_id: What they call the request, or empty.
        followed: Whether the work had been accepted before.
    """
    kind = _edge_kind(complaint, followed=followed) if complaint.edge else _worker_kind(complaint)
    metadata = {"provider_code": complaint.code, "provider_request_id": request_id}
    if kind is errors.OutcomeUnknownError:
        metadata["replay"] = "accepted" if followed else "ambiguous"
    elif complaint.cold and not followed:
        metadata["replay"] = "not_dispatched"
    elif kind in _AFTER_WORK:
        metadata["replay"] = "accepted"
    retry_after = complaint.retry_after
    if kind is errors.RateLimitedError:
        retry_after = retry_after or RATE_SECONDS
    return kind(_SENTENCES[kind].format(status=complaint.status), metadata=metadata, retry_after=retry_after)


def broken_off_by(event: bytes, request_id: str) -> errors.PixvoxError:
    """Return our error for the worker's complaint in the middle of a stream, some of which has been handed on.

    Args:
        event: Its data.
        request_id: What they call the request, or empty.
    """
    code = identifier(_worker(event) or "", 64)
    metadata = {"provider_code": code, "provider_request_id": request_id, "replay": "committed"}
    if code in _TIMEOUTS:
        return errors.ProviderTimeoutError(_SENTENCES[errors.ProviderTimeoutError], metadata=metadata)
    message = "The worker failed in the middle of its answer; the audio is incomplete."
    return errors.ProviderInternalError(message, metadata=metadata)


class _Job(msgspec.Struct):
    job_id: str = ""


class _Error(msgspec.Struct):
    type: str | None = None


class _Envelope(msgspec.Struct):
    error: _Error | str | None = None
    status: object = None


def _job_id(reply: Reply) -> str:
    if reply.status != 200 or len(reply.body) > _MOST_JOB_BYTES:
        return ""
    try:
        return identifier(msgspec.json.decode(reply.body, type=_Job).job_id)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _worker(document: bytes) -> str | None:
    """Return the worker's type of error, empty if it gives none; None if the document is not the worker's."""
    try:
        envelope = msgspec.json.decode(document, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if isinstance(envelope.error, _Error) and envelope.error.type:
        return envelope.error.type
    return envelope.status if isinstance(envelope.status, str) else ""


def _edge_kind(complaint: Complaint, *, followed: bool) -> type[errors.PixvoxError]:
    status, words = complaint.status, complaint.words
    if status == 500 and "waited too long for port" in words and not followed:
        return errors.ProviderUnavailableError
    if status == 500 and "lost track of input" in words:
        return errors.OutcomeUnknownError
    if status == 500 and ("terminated by signal" in words or "internal error" in words):
        return errors.ProviderInternalError
    if followed or status in {408, 500, 502}:
        return errors.OutcomeUnknownError
    if status == 404:
        # A workspace that is disabled, or an address that is none of Modal's, does not come back by itself.
        passing = "is stopped" in words or "invalid function call" in words
        return errors.ProviderUnavailableError if passing else errors.ProviderConfigError
    if complaint.spent:
        return errors.ProviderBillingError
    return _EDGE_STATUSES.get(status) or _otherwise(status)


def _worker_kind(complaint: Complaint) -> type[errors.PixvoxError]:
    if complaint.words == "unsupported_task":
        return errors.ProviderConfigError
    return _WORKER_STATUSES.get(complaint.status) or _otherwise(complaint.status)


def _otherwise(status: int) -> type[errors.PixvoxError]:
    if 300 <= status < 400:
        return errors.ProviderConfigError
    return errors.ProviderRejectedError if 400 <= status < 500 else errors.ProviderInternalError


_EDGE_STATUSES: dict[int, type[errors.PixvoxError]] = {
    401: errors.ProviderCredentialsError,
    403: errors.ProviderAccessDeniedError,
    429: errors.RateLimitedError,
    503: errors.ProviderUnavailableError,
    504: errors.ProviderTimeoutError,
}
_WORKER_STATUSES: dict[int, type[errors.PixvoxError]] = {
    400: errors.InvalidParameterError,
    401: errors.ProviderCredentialsError,
    403: errors.ProviderAccessDeniedError,
    404: errors.ProviderConfigError,
    408: errors.ProviderTimeoutError,
    409: errors.ConflictError,
    413: errors.InvalidInputError,
    415: errors.InvalidInputError,
    422: errors.InvalidParameterError,
    429: errors.RateLimitedError,
    499: errors.ProviderDisconnectedError,
    502: errors.ProviderUnavailableError,
    503: errors.ProviderUnavailableError,
    504: errors.ProviderTimeoutError,
}
_TIMEOUTS = frozenset({"timeout_error"})
# What is known to have cost time on a GPU.
_AFTER_WORK = frozenset({errors.ProviderInternalError, errors.ProviderTimeoutError})
_SENTENCES: dict[type[errors.PixvoxError], str] = {
    errors.InvalidParameterError: "The worker refused a value of the request.",
    errors.InvalidInputError: "The worker could not read the picture, or it is too large for it.",
    errors.ProviderCredentialsError: "Modal or the worker refused the provider's keys.",
    errors.ProviderAccessDeniedError: "The provider's keys are not good for this deployment.",
    errors.ProviderConfigError: (
        "The deployment is not what the settings say: the address is wrong, or it serves other models (status {status})."
    ),
    errors.ProviderBillingError: "The workspace has spent what it may until its billing cycle ends.",
    errors.ProviderRejectedError: "The provider refused the call (status {status}).",
    errors.ProviderDisconnectedError: "The worker took the service to have left.",
    errors.ConflictError: "The worker is busy with a conflicting call; try again later.",
    errors.RateLimitedError: "The provider takes no more requests for now.",
    errors.ProviderInternalError: "The worker failed.",
    errors.ProviderTimeoutError: "The worker gave up on the work by its own clock; it may have been billed.",
    errors.ProviderUnavailableError: "The deployment is stopped, not up yet, or overloaded (status {status}).",
    errors.OutcomeUnknownError: (
        "The deployment lost the request (status {status}). The work may have been done and billed, so it was not repeated."
    ),
}
