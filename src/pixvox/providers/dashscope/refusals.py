"""What it means when the vendor refuses: its status, code and words become one of our errors.

Source: "Error codes" of Alibaba Cloud Model Studio. The same codes come in HTTP replies, in successful replies, in failed
tasks, in frames of an event stream and in WebSocket events; codes come in two spellings, ``RateQuota`` and ``rate_quota``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pixvox import errors
from pixvox.errors import OutcomeUnknownError
from pixvox.providers.dashscope import wording
from pixvox.upstream import Ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.upstream import Reply

RATE_SECONDS = 1.0
BURST_SECONDS = 2.0
QUOTA_SECONDS = 60.0

_REQUEST_ID_HEADERS = ("x-request-id", "x-acs-request-id", "x-dashscope-request-id")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the vendor says went wrong.

    Attributes:
        status: Of the HTTP reply or of the refused handshake; 0 where the complaint has none of its own, as in events.
        code: The vendor's, in either spelling, or empty.
        message: The vendor's words, which must not be shown as they are.
        request_id: The vendor's id of the call, or empty.
        retry_after: Seconds that the reply asks to wait, or None.
    """

    status: int = 0
    code: str = ""
    message: str = field(default="", repr=False)
    request_id: str = ""
    retry_after: float | None = None


class Envelope(msgspec.Struct):
    """What every JSON answer of the vendor may have beside its result."""

    code: str | int | None = None
    message: str | None = None
    request_id: str | None = None


def complaint_of(reply: Reply) -> Complaint:
    """Return what a reply says that is no result: JSON as the vendor's, ``{}``, or the page of a proxy."""
    try:
        envelope = msgspec.json.decode(reply.body, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        envelope = Envelope()
    return Complaint(
        status=reply.status,
        code=str(envelope.code or ""),
        message=envelope.message or "",
        request_id=envelope.request_id or request_id_of(reply),
        retry_after=reply.retry_after,
    )


def request_id_of(reply: Reply) -> str:
    """Return the vendor's id of the call as the headers have it, or an empty string."""
    return next((found for name in _REQUEST_ID_HEADERS if (found := reply.headers.get(name))), "")


def ids_of(reply: Reply) -> Ids:
    """Return what a reply calls itself; for `Upstream.origin`."""
    try:
        named = msgspec.json.decode(reply.body, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        named = _Named()
    return named_ids(
        named.request_id or request_id_of(reply),
        task=(named.output and named.output.task_id) or "",
        code=str(named.code or ""),
    )


def named_ids(request: str, *, task: str = "", code: str = "") -> Ids:
    """Return ids of the vendor without anything that has no place in one."""
    return Ids(wording.identifier(request), wording.identifier(task), wording.identifier(code, 64))


def error_of(
    complaint: Complaint,
    *,
    region: str,
    private: Iterable[str] = (),
    pause: float = RATE_SECONDS,
    handshake: bool = False,
) -> errors.PixvoxError:
    """Return our error for a complaint; ``provider_code`` and ``provider_request_id`` are always in its metadata.

    Args:
        complaint: Of the vendor.
        region: In which the call was made.
        private: Texts of the caller that the message must not repeat.
        pause: Seconds after which the model takes another request, for a rate limit that does not tell.
        handshake: Whether a WebSocket was refused, where a bad key comes as 403 without a code as well.
    """
    kind = _kind(complaint, handshake=handshake)
    message = _SENTENCES[kind].format(region=region, status=complaint.status)
    if kind in _QUOTED and (words := wording.safe(complaint.message, private)):
        message = f"{message} It says: {words}"
    metadata = {
        "region": region,
        "provider_code": wording.identifier(complaint.code, 64),
        "provider_request_id": wording.identifier(complaint.request_id),
    }
    if kind is OutcomeUnknownError:
        metadata["replay"] = "ambiguous"
    return kind(message, metadata=metadata, retry_after=_retry_after(kind, complaint, pause))


def retry_seconds(reply: Reply) -> float | None:
    """Return how long to wait before a refused request is sent again, None if it must not be; for `Upstream.origin`.

    Only a rate limit says that nothing was done for the request. Quotas of voices, and bills that come as 429, stay.
    """
    if reply.status != 429:
        return None
    complaint = complaint_of(reply)
    kind = _kind(complaint)
    if kind is errors.QuotaExceededError:
        return QUOTA_SECONDS
    if kind is not errors.RateLimitedError:
        return None
    return BURST_SECONDS if "burst" in _plain(complaint.code) else RATE_SECONDS


class _Work(msgspec.Struct):
    task_id: str | None = None


class _Named(msgspec.Struct):
    request_id: str | None = None
    output: _Work | None = None
    code: str | int | None = None


def _retry_after(kind: type[errors.PixvoxError], complaint: Complaint, pause: float) -> float | None:
    if kind is errors.RateLimitedError:
        return complaint.retry_after or pause
    if kind is errors.QuotaExceededError:
        return complaint.retry_after or QUOTA_SECONDS
    return None


def _kind(complaint: Complaint, *, handshake: bool = False) -> type[errors.PixvoxError]:
    code = _plain(complaint.code)
    family = code.partition(".")[0]
    if complaint.status == 401 or (handshake and complaint.status == 403 and not code):
        return errors.ProviderCredentialsError
    return (
        _by_words(code, family, complaint.message.strip().lower())
        or _BY_CODE.get(code)
        or _BY_CODE.get(family)
        or next((kind for prefix, kind in _BY_PREFIX.items() if family.startswith(prefix)), None)
        or _by_status(complaint.status, known=bool(code))
    )


def _plain(code: str) -> str:
    return code.strip().lower().replace("_", "")


def _by_words(code: str, family: str, message: str) -> type[errors.PixvoxError] | None:
    """Return what only the words tell."""
    engine = re.search(r"engine return error code:\s*(\d+)", message)
    if engine is not None:
        return {"411": errors.VoiceModelMismatchError, "418": errors.VoiceModelMismatchError}.get(
            engine[1], errors.InvalidParameterError if engine[1] == "428" else errors.ProviderInternalError
        )
    for codes, words, kind in _WORDS:
        if (code in codes or family in codes) and words.search(message):
            return kind
    return None


def _by_status(status: int, *, known: bool) -> type[errors.PixvoxError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        # The configured address is not the vendor's own; redirects are not followed with a key in hand.
        return errors.ProviderConfigError
    if 400 <= status < 500:
        return errors.ProviderRejectedError
    if status == 502 and not known:
        return OutcomeUnknownError
    return errors.ProviderInternalError


_BY_CODE: dict[str, type[errors.PixvoxError]] = {
    "invalidparameter": errors.InvalidParameterError,
    "invalidparameter.datainspection": errors.InputDownloadError,
    "badrequest": errors.InvalidInputError,
    "badrequest.inputdownloadfailed": errors.InputDownloadError,
    "badrequest.voicenotfound": errors.VoiceNotFoundError,
    "badrequest.resourcenotexist": errors.VoiceNotFoundError,
    "voicenotfound": errors.VoiceNotFoundError,
    "invalidurl": errors.InputDownloadError,
    "invalidfile": errors.InvalidInputError,
    "audio": errors.InvalidAudioError,
    "invalidvalue": errors.InvalidParameterError,
    "invalidrequesterror": errors.InvalidParameterError,
    "418": errors.VoiceModelMismatchError,
    "428": errors.InvalidParameterError,
    "datainspectionfailed": errors.ContentBlockedError,
    "ipinfringementsuspect": errors.ContentBlockedError,
    "customroleblocked": errors.ContentBlockedError,
    "faqruleblocked": errors.ContentBlockedError,
    "arrearage": errors.ProviderBillingError,
    "commoditynotpurchased": errors.ProviderBillingError,
    "prepaidbilloverdue": errors.ProviderBillingError,
    "postpaidbilloverdue": errors.ProviderBillingError,
    "allocationquota.freetieronly": errors.ProviderBillingError,
    "unsupportedoperation": errors.ProviderRejectedError,
    "clientdisconnect": errors.ProviderDisconnectedError,
    "invalidapikey": errors.ProviderCredentialsError,
    "accessdenied": errors.ProviderAccessDeniedError,
    "model.accessdenied": errors.ProviderAccessDeniedError,
    "workspace.accessdenied": errors.ProviderAccessDeniedError,
    "app.accessdenied": errors.ProviderAccessDeniedError,
    "endpoint.accessdenied": errors.ProviderAccessDeniedError,
    "modelnotfound": errors.ModelNotFoundError,
    "modelnotsupported": errors.ModelNotFoundError,
    "model.notexist": errors.ModelNotFoundError,
    "workspacenotfound": errors.ProviderConfigError,
    "notfound": errors.ProviderConfigError,
    "conflict": errors.ConflictError,
    "throttling": errors.RateLimitedError,
    "throttling.allocationquota": errors.QuotaExceededError,
    "limitrequests": errors.RateLimitedError,
    "limitburstrate": errors.RateLimitedError,
    "insufficientquota": errors.QuotaExceededError,
    "internalerror": errors.ProviderInternalError,
    "internalerror.timeout": errors.ProviderTimeoutError,
    "responsetimeout": errors.ProviderTimeoutError,
    "requesttimeout": errors.ProviderTimeoutError,
    "gatewaytimeout": errors.ProviderTimeoutError,
    "sessionexpired": errors.ProviderTimeoutError,
    "systemerror": errors.ProviderInternalError,
    "modelservicefailed": errors.ProviderInternalError,
    "rewritefailed": errors.ProviderInternalError,
    "modelservingerror": errors.ProviderUnavailableError,
    "modelunavailable": errors.ProviderUnavailableError,
    "serviceunavailable": errors.ProviderUnavailableError,
}
_BY_PREFIX: dict[str, type[errors.PixvoxError]] = {"invalidimage": errors.InvalidInputError}
_BY_STATUS: dict[int, type[errors.PixvoxError]] = {
    403: errors.ProviderAccessDeniedError,
    404: errors.ProviderConfigError,
    408: errors.ProviderTimeoutError,
    409: errors.ConflictError,
    413: errors.InvalidInputError,
    418: errors.VoiceModelMismatchError,
    429: errors.RateLimitedError,
    430: errors.InvalidAudioError,
    503: errors.ProviderUnavailableError,
    # A proxy gave up on a vendor that was at work.
    504: errors.ProviderTimeoutError,
}
_WORDS: tuple[tuple[frozenset[str], re.Pattern[str], type[errors.PixvoxError]], ...] = (
    (frozenset({"invalidparameter"}), re.compile(r"model not exist"), errors.ModelNotFoundError),
    (frozenset({"invalidparameter"}), re.compile(r"url error, please check url"), errors.ModelEndpointMismatchError),
    (frozenset({"invalidparameter"}), re.compile(r"download \w+ failed"), errors.InputDownloadError),
    (
        frozenset({"invalidparameter"}),
        re.compile(r"image format error|invalid image format|corrupted file"),
        errors.InvalidInputError,
    ),
    (frozenset({"datainspectionfailed"}), re.compile(r"^input"), errors.InputBlockedError),
    (frozenset({"datainspectionfailed"}), re.compile(r"^output"), errors.OutputBlockedError),
    (frozenset({"throttling.allocationquota"}), re.compile(r"maximum voice"), errors.VoiceQuotaError),
    (
        frozenset({"accessdenied"}),
        re.compile(r"not support a?synchronous calls"),
        errors.ModelEndpointMismatchError,
    ),
    (frozenset({"invalidvalue"}), re.compile(r"\bvoice\b"), errors.VoiceModelMismatchError),
    (frozenset({"clienterror"}), re.compile(r"request timeout"), errors.ProviderTimeoutError),
)

_SENTENCES: dict[type[errors.PixvoxError], str] = {
    errors.InvalidParameterError: "The provider refused a value of the request.",
    errors.InvalidInputError: "The provider could not read the request or one of its files.",
    errors.InvalidAudioError: "The provider cannot clone the recording; send another one.",
    errors.InputDownloadError: "The provider could not download an input; send its bytes.",
    errors.ModelNotFoundError: "The provider does not have the model in region {region}.",
    errors.VoiceNotFoundError: "The provider does not have the voice.",
    errors.VoiceModelMismatchError: "The provider does not let the model speak with this voice.",
    errors.ContentBlockedError: "The provider's policy forbids the request.",
    errors.InputBlockedError: "The provider's policy forbids what was sent.",
    errors.OutputBlockedError: "The provider's policy forbids what came out; change the request.",
    errors.ProviderBillingError: "The provider's account is overdue, not activated or out of free quota.",
    errors.ProviderRejectedError: "The provider refused the call.",
    errors.ProviderDisconnectedError: "The provider took the service to have left.",
    errors.ProviderCredentialsError: (
        "The provider refused the service's key in region {region}. A key is good in its own region and workspace alone."
    ),
    errors.ProviderAccessDeniedError: (
        "The provider's account may not use the model in region {region}, or the model was retired."
    ),
    errors.ProviderConfigError: "The provider does not know the configured workspace or address (status {status}).",
    errors.ModelEndpointMismatchError: "The provider does not serve the model where the service asked for it.",
    errors.ConflictError: "The provider is busy with a conflicting call; try again later.",
    errors.RateLimitedError: "The provider's rate limit is used up.",
    errors.QuotaExceededError: "The provider's quota for the account is used up for now.",
    errors.VoiceQuotaError: "The provider's account has as many voices as it may; purge some.",
    errors.ProviderInternalError: "The provider failed.",
    errors.ProviderTimeoutError: "The provider gave up on the work by its own clock; it may have been billed.",
    errors.ProviderUnavailableError: "The provider is overloaded or down (status {status}).",
    OutcomeUnknownError: (
        "A proxy answered in the provider's place (status {status}). The work may have been done and billed, so it was not"
        " repeated."
    ),
}
# Elsewhere the vendor's words help an operator at most, who finds them by the request id.
_QUOTED = frozenset(
    {
        errors.InvalidParameterError,
        errors.InvalidInputError,
        errors.InvalidAudioError,
        errors.ProviderRejectedError,
        errors.VoiceModelMismatchError,
    }
)
