"""What it means when a worker refuses or fails: its status and its type of error become one of our errors.

A worker of our own wraps every failure as ``{"error": {"message", "type", "param", "code"}}``, whether it is a reply or an event
of a stream; one that has ``/process`` alone answers ``{"detail": "text"}``. None of their words are handed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from pixvox import errors
from pixvox.upstream import Ids, Reply
from pixvox.upstream.pool import Decline, Load
from pixvox.utterances import Complaints

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE_SECONDS = 1.0

_NOT_IDENTIFIER = re.compile(r"[^A-Za-z0-9._:-]+")
_BEGUN = frozenset({"out_of_memory", "queue_timeout"})
_UNWELL = frozenset({"loading", "unhealthy", "stopping", "error"})
# A depth is a count; more than this is none.
_MOST_DEPTH = 1_000_000


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why there is no result.

    Attributes:
        status: Of the reply, or that which an error event names; 0 if there is none.
        type: The worker's, harmless; empty if it gives none.
        request_id: The worker's id of the call, harmless, maybe empty.
        retry_after: Seconds that the reply asks to wait, or None.
        param: The field of the request that it is about; empty if it gives none.
        structured: Whether it is JSON, and so comes from the worker rather than from a proxy.
    """

    status: int
    type: str = ""
    request_id: str = ""
    retry_after: float | None = None
    param: str = ""
    structured: bool = True


def complaint_of(reply: Reply) -> Complaint:
    """Return what a reply says that is no result."""
    error = _read(reply.body)
    request_id = request_id_in(reply.headers)
    if error is None:
        return Complaint(reply.status, "", request_id, reply.retry_after, structured=False)
    return Complaint(reply.status, error.kind, request_id, reply.retry_after, error.field)


def complaint_in(event: bytes, request_id: str) -> Complaint:
    """Return what an error event says, by the status that it would have as a reply."""
    error = _read(event) or _Error()
    return Complaint(error.code if isinstance(error.code, int) else 0, error.kind, request_id, param=error.field)


def request_id_in(headers: Mapping[str, str]) -> str:
    """Return the worker's id of a call, or an empty string."""
    return identifier(headers.get("X-Request-Id", ""), 128)


def identifier(text: str, longest: int) -> str:
    """Return a code or an id of theirs without anything that has no place in one."""
    return _NOT_IDENTIFIER.sub("", text)[:longest]


def ids_of(reply: Reply) -> Ids:
    """Return what a reply calls itself; for `Upstream.origin`."""
    code = complaint_of(reply).type if reply.status >= 400 else ""
    return Ids(request=request_id_in(reply.headers), task=identifier(reply.headers.get("X-Job-Id", ""), 128), code=code)


def retry_seconds(reply: Reply) -> float | None:
    """Return how long to wait before a refused request is sent to the same worker again, None if it must not be."""
    return RATE_SECONDS if reply.status == 429 else None


def declined(reply: Reply) -> Decline | None:
    """Return whether a worker did no work so that another one may be asked; for `pixvox.upstream.pool.Pool`."""
    complaint = complaint_of(reply)
    if reply.status == 429 or _is_about_model(complaint):
        return Decline.BUSY
    return Decline.DOWN if reply.status == 503 and complaint.type not in _BEGUN else None


def load_of(reply: Reply) -> Load:
    """Return what ``/health`` says. A container of another make may say 200 whatever it means, so that its words count."""
    try:
        said = msgspec.json.decode(reply.body, type=_Health)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # It has no such route, and takes connections.
        return Load(ready=reply.status < 500)
    unwell = isinstance(said.status, str) and said.status in _UNWELL
    well = said.model_loaded is not False and not unwell
    depth = sum(one for one in (said.queue_depth, said.running) if isinstance(one, int) and 0 <= one <= _MOST_DEPTH)
    return Load(ready=well and reply.status < 500, depth=depth)


def error_of(complaint: Complaint, *, committed: bool = False) -> errors.PixvoxError:
    """Return our error for a complaint; ``provider_code`` and ``provider_request_id`` are always in its metadata.

    Args:
        complaint: Of the worker.
        committed: Whether a part of the answer has been handed on.
    """
    kind = _kind(complaint)
    metadata = {"provider_code": complaint.type, "provider_request_id": complaint.request_id}
    if committed:
        metadata["replay"] = "committed"
        if kind is errors.ProviderUnavailableError:
            # It has begun, so that nobody may say that it did nothing.
            kind = errors.ProviderInternalError
    elif kind is errors.OutcomeUnknownError:
        metadata["replay"] = "ambiguous"
    elif kind in _AFTER_WORK:
        metadata["replay"] = "accepted"
    retry_after = complaint.retry_after if kind in _PASSING else None
    if kind is errors.RateLimitedError:
        retry_after = retry_after or RATE_SECONDS
    return kind(_sentence(kind, complaint), metadata=metadata, retry_after=retry_after)


def senseless(what: str, request_id: str) -> errors.ProviderInternalError:
    """Return the error for an answer that is none; goes on after "The worker"."""
    metadata = {"provider_code": "", "provider_request_id": request_id, "replay": "accepted"}
    return errors.ProviderInternalError(f"The worker {what}.", metadata=metadata)


def refusal_of(reply: Reply) -> errors.PixvoxError:
    """Return our error for a reply where a stream of events was asked for."""
    if reply.status == 200:
        return senseless("answered with something else than events", request_id_in(reply.headers))
    return error_of(complaint_of(reply))


def _failure_of(event: bytes, request_id: str) -> errors.PixvoxError:
    return error_of(complaint_in(event, request_id), committed=True)


SPEECH_COMPLAINTS = Complaints(refused=refusal_of, failed=_failure_of, request_id=request_id_in)


class _Error(msgspec.Struct):
    type: object = None
    code: object = None
    param: object = None

    @property
    def kind(self) -> str:
        return identifier(self.type, 64) if isinstance(self.type, str) else ""

    @property
    def field(self) -> str:
        return self.param if isinstance(self.param, str) else ""


class _Envelope(msgspec.Struct):
    error: object = None


class _Health(msgspec.Struct):
    status: object = None
    model_loaded: object = None
    queue_depth: object = None
    running: object = None


def _is_about_model(complaint: Complaint) -> bool:
    """Tell whether a worker has another model than it was asked for, as while they are restarted one by one."""
    return complaint.type == "unsupported_task" or (complaint.status == 404 and complaint.param == "model")


def _read(body: bytes) -> _Error | None:
    """Return the error in a document, None if it is no JSON object."""
    try:
        error = msgspec.json.decode(body, type=_Envelope).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return msgspec.convert(error, _Error) if isinstance(error, dict) else _Error()


def _sentence(kind: type[errors.PixvoxError], complaint: Complaint) -> str:
    if kind is errors.ProviderConfigError and _is_about_model(complaint):
        sentence = _OTHER_MODEL
    elif kind in {errors.ProviderUnavailableError, errors.ProviderInternalError} and complaint.type in _OWN_SENTENCES:
        sentence = _OWN_SENTENCES[complaint.type]
    elif kind is errors.InvalidParameterError and (name := identifier(complaint.param, 64)):
        sentence = f"The worker refused a value of the request, which it calls {name}."
    else:
        sentence = _SENTENCES[kind]
    return sentence.format(status=complaint.status)


def _kind(complaint: Complaint) -> type[errors.PixvoxError]:
    status = complaint.status
    if complaint.type in _TYPES:
        return _TYPES[complaint.type]
    if status in {400, 404} and complaint.param == "voice":
        return errors.VoiceNotFoundError
    if status == 502 and not complaint.structured:
        return errors.OutcomeUnknownError
    if status in _STATUSES:
        return _STATUSES[status]
    if 300 <= status < 400:
        return errors.ProviderConfigError
    return errors.ProviderRejectedError if 400 <= status < 500 else errors.ProviderInternalError


_TYPES: dict[str, type[errors.PixvoxError]] = {
    # The model that is loaded does something else than the settings say.
    "unsupported_task": errors.ProviderConfigError,
}
_STATUSES: dict[int, type[errors.PixvoxError]] = {
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
    499: errors.ProviderDisconnectedError,
    503: errors.ProviderUnavailableError,
    504: errors.ProviderTimeoutError,
}
_PASSING = frozenset({errors.RateLimitedError, errors.ProviderUnavailableError})
# What is known to have cost time on a GPU.
_AFTER_WORK = frozenset({errors.ProviderInternalError, errors.ProviderTimeoutError, errors.ProviderDisconnectedError})
_OTHER_MODEL = (
    "The worker serves another model, or does something else with it, than the settings say; its /models tells which "
    "(status {status})."
)
_OWN_SENTENCES = {
    "out_of_memory": "The worker ran out of memory; fewer pixels or pictures need less (status {status}).",
    "queue_timeout": "The request waited in the worker's queue for as long as it may (status {status}).",
}
_SENTENCES: dict[type[errors.PixvoxError], str] = {
    errors.InvalidParameterError: "The worker refused a value of the request.",
    errors.InvalidInputError: "The worker could not read a file of the request, or it is too large for it.",
    errors.VoiceNotFoundError: "The worker does not have the voice.",
    errors.ProviderCredentialsError: (
        "The worker refused the service's key, or was given none: the provider's api_key has to be one of its API_KEY."
    ),
    errors.ProviderAccessDeniedError: "The service's key is not good for this worker.",
    errors.ProviderConfigError: (
        "What answers at the provider's address has no such route (status {status}): it is no worker of this contract, or the "
        "address has a path that does not belong to it, such as /v1."
    ),
    errors.ProviderRejectedError: "The worker refused the call (status {status}).",
    errors.ProviderDisconnectedError: "The worker took the service to have left.",
    errors.ConflictError: "The worker is busy with a conflicting call; try again later.",
    errors.RateLimitedError: "The worker's queue is full.",
    errors.ProviderInternalError: "The worker failed.",
    errors.ProviderTimeoutError: "The worker gave up on the work when its time was up.",
    errors.ProviderUnavailableError: "The worker is loading its model, cannot load it, or is going down; its /health tells which (status {status}).",
    errors.OutcomeUnknownError: (
        "A proxy answered in the worker's place (status {status}). The work may have been done, so it was not repeated."
    ),
}
