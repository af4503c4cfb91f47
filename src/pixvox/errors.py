"""Every failure that a caller can see: one tree, and how each becomes a `google.rpc.Status`.

PixvoxError
├── RequestError                    the caller has to change something        INVALID_ARGUMENT
│   ├── InvalidRequestError         INVALID_REQUEST
│   ├── UnsupportedError            UNSUPPORTED
│   ├── InvalidMediaError           INVALID_MEDIA
│   ├── MediaTooLargeError          MEDIA_TOO_LARGE
│   ├── MediaFetchError             MEDIA_FETCH_FAILED
│   ├── UriNotAllowedError          URI_NOT_ALLOWED
│   ├── StreamOrderError            STREAM_ORDER
│   ├── ProviderNotFoundError       PROVIDER_NOT_FOUND
│   ├── ModelNotFoundError          MODEL_NOT_FOUND                           NOT_FOUND
│   ├── InvalidParameterError       INVALID_PARAMETER
│   ├── InvalidInputError           INVALID_INPUT
│   ├── InvalidAudioError           INVALID_AUDIO
│   ├── InputDownloadError          INPUT_DOWNLOAD_FAILED
│   ├── ContentBlockedError         CONTENT_BLOCKED
│   ├── InputBlockedError           CONTENT_BLOCKED_INPUT
│   ├── OutputBlockedError          CONTENT_BLOCKED_OUTPUT
│   ├── VoiceModelMismatchError     VOICE_MODEL_MISMATCH                      FAILED_PRECONDITION
│   ├── VoiceProviderMismatchError  VOICE_PROVIDER_MISMATCH                   FAILED_PRECONDITION
│   ├── VoiceDeletedError           VOICE_DELETED                             FAILED_PRECONDITION
│   ├── RequestIdReusedError        REQUEST_ID_REUSED                         ALREADY_EXISTS
│   └── VoiceNotFoundError          VOICE_NOT_FOUND                           NOT_FOUND
├── ProviderError                   a provider failed
│   ├── ProviderUnavailableError    PROVIDER_UNAVAILABLE                      UNAVAILABLE
│   ├── ProviderDisconnectedError   PROVIDER_DISCONNECTED                     UNAVAILABLE
│   ├── ProviderInternalError       PROVIDER_INTERNAL                         INTERNAL
│   ├── VoiceQuotaError             VOICE_QUOTA                               RESOURCE_EXHAUSTED
│   ├── ProviderNotConfiguredError  PROVIDER_NOT_CONFIGURED                   FAILED_PRECONDITION
│   ├── ProviderCredentialsError    PROVIDER_CREDENTIALS                      FAILED_PRECONDITION
│   ├── ProviderAccessDeniedError   PROVIDER_ACCESS_DENIED                    PERMISSION_DENIED
│   ├── ProviderBillingError        PROVIDER_BILLING                          FAILED_PRECONDITION
│   ├── ProviderConfigError         PROVIDER_CONFIG                           FAILED_PRECONDITION
│   ├── ProviderRejectedError       PROVIDER_REJECTED                         FAILED_PRECONDITION
│   ├── ProviderTimeoutError        PROVIDER_TIMEOUT                          DEADLINE_EXCEEDED
│   ├── QuotaExceededError          QUOTA_EXCEEDED                            RESOURCE_EXHAUSTED
│   ├── ConflictError               CONFLICT                                  ABORTED
│   ├── TaskNotFoundError           TASK_NOT_FOUND                            NOT_FOUND
│   ├── ModelEndpointMismatchError  MODEL_ENDPOINT_MISMATCH                   INTERNAL
│   ├── OutcomeUnknownError         OUTCOME_UNKNOWN                           UNKNOWN
│   └── RateLimitedError            RATE_LIMITED                              RESOURCE_EXHAUSTED
└── ServiceError                    the service itself
    ├── NoProviderError             NO_PROVIDER                               FAILED_PRECONDITION
    ├── SwitchedOffError            SWITCHED_OFF                              FAILED_PRECONDITION
    ├── AnswerNotKeptError          ANSWER_NOT_KEPT                           FAILED_PRECONDITION
    ├── NotSentError                the target was passed over
    │   ├── CircuitOpenError        CIRCUIT_OPEN                              UNAVAILABLE
    │   └── OverloadedError         OVERLOADED                                RESOURCE_EXHAUSTED
    ├── OutputTooLargeError         OUTPUT_TOO_LARGE                          RESOURCE_EXHAUSTED
    ├── DeadlineError               DEADLINE_EXCEEDED                         DEADLINE_EXCEEDED
    ├── ShuttingDownError           SHUTTING_DOWN                             UNAVAILABLE
    ├── MethodNotFoundError         METHOD_NOT_FOUND                          UNIMPLEMENTED
    └── InternalError               INTERNAL                                  INTERNAL

Source of the shape: https://google.aip.dev/193; what each reason means to a caller: protos/pixvox/v1/error_reason.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from pixvox.v1 import error_reason_pb2 as reasons

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from pixvox.v1.error_reason_pb2 import ErrorReason

DOMAIN = "pixvox"
STATUS_TRAILER = "grpc-status-details-bin"
# Trailers share the 8 KiB that clients commonly allow for metadata, so what a person typed is cut.
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Violation:
    """One request field that is wrong: its path as in the proto, and what would be right."""

    field: str
    description: str


class PixvoxError(Exception):
    """A failure with a gRPC code and a reason.

    Args:
        message: A sentence for a person that says what to do. Never holds prompts, media, keys or upstream text.
        violations: The request's fields concerned.
        metadata: More for `ErrorInfo.metadata`, such as ``provider`` and ``provider_code``.
        retry_after: Seconds after which trying again makes sense, or None.
        resource: (type, name) of the thing that was not found.
        quota: (subject, description) of the limit that is used up.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[ErrorReason.ValueType] = reasons.ERROR_REASON_INTERNAL

    def __init__(
        self,
        message: str,
        *violations: Violation,
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
        resource: tuple[str, str] | None = None,
        quota: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations
        self.metadata = metadata or {}
        self.retry_after = retry_after
        self.resource = resource
        self.quota = quota

    def to_status(self, request_id: str) -> status_pb2.Status:
        """Return the status with exactly one `ErrorInfo` and whichever other details apply."""
        metadata = {key: shortened(value) for key, value in self.metadata.items()} | {"request_id": request_id}
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=reason_name(self.reason), domain=DOMAIN, metadata=metadata)
        ]
        if self.violations:
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(
                            field=violation.field, description=shortened(violation.description)
                        )
                        for violation in self.violations[:16]
                    ]
                )
            )
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(self.retry_after * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        if self.resource is not None:
            kind, name = self.resource
            details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=shortened(name)))
        if self.quota is not None:
            subject, description = self.quota
            violation = error_details_pb2.QuotaFailure.Violation(subject=subject, description=shortened(description))
            details.append(error_details_pb2.QuotaFailure(violations=[violation]))
        status = status_pb2.Status(code=self.code.value[0], message=shortened(self.message))
        status.details.extend(_packed(detail) for detail in details)
        return status


class RequestError(PixvoxError):
    """The caller has to change something."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = reasons.ERROR_REASON_INVALID_REQUEST


class InvalidRequestError(RequestError):
    """A field is missing or outside what any model allows."""


class UnsupportedError(RequestError):
    """The chosen model cannot do what a field asks."""

    reason = reasons.ERROR_REASON_UNSUPPORTED


class InvalidMediaError(RequestError):
    """An input is not a picture of a supported format, or is damaged."""

    reason = reasons.ERROR_REASON_INVALID_MEDIA


class MediaTooLargeError(RequestError):
    """An input has too many bytes or pixels."""

    reason = reasons.ERROR_REASON_MEDIA_TOO_LARGE


class MediaFetchError(RequestError):
    """An input's address did not give the media."""

    reason = reasons.ERROR_REASON_MEDIA_FETCH_FAILED


class UriNotAllowedError(RequestError):
    """An input's address is of a kind that the service does not visit."""

    reason = reasons.ERROR_REASON_URI_NOT_ALLOWED


class StreamOrderError(RequestError):
    """The messages of a stream came in a wrong order."""

    reason = reasons.ERROR_REASON_STREAM_ORDER


class ProviderNotFoundError(RequestError):
    """No provider of that name is configured."""

    reason = reasons.ERROR_REASON_PROVIDER_NOT_FOUND


class ModelNotFoundError(RequestError):
    """No provider has the model."""

    code = grpc.StatusCode.NOT_FOUND
    reason = reasons.ERROR_REASON_MODEL_NOT_FOUND


class VoiceNotFoundError(RequestError):
    """The model has no such voice."""

    code = grpc.StatusCode.NOT_FOUND
    reason = reasons.ERROR_REASON_VOICE_NOT_FOUND


class InvalidParameterError(RequestError):
    """The provider refused a value that the capability table lets through."""

    reason = reasons.ERROR_REASON_INVALID_PARAMETER


class InvalidInputError(RequestError):
    """The provider could not read the request or its media."""

    reason = reasons.ERROR_REASON_INVALID_INPUT


class InvalidAudioError(RequestError):
    """A recording cannot be cloned."""

    reason = reasons.ERROR_REASON_INVALID_AUDIO


class InputDownloadError(RequestError):
    """The provider could not download an input."""

    reason = reasons.ERROR_REASON_INPUT_DOWNLOAD_FAILED


class ContentBlockedError(RequestError):
    """The provider's policy forbids the request."""

    reason = reasons.ERROR_REASON_CONTENT_BLOCKED


class InputBlockedError(RequestError):
    """The provider's policy forbids what was sent."""

    reason = reasons.ERROR_REASON_CONTENT_BLOCKED_INPUT


class OutputBlockedError(RequestError):
    """The provider's policy forbids what came out."""

    reason = reasons.ERROR_REASON_CONTENT_BLOCKED_OUTPUT


class VoiceModelMismatchError(RequestError):
    """The voice was made for another model."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_VOICE_MODEL_MISMATCH


class VoiceProviderMismatchError(RequestError):
    """The voice belongs to another provider."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_VOICE_PROVIDER_MISMATCH


class VoiceDeletedError(RequestError):
    """The voice was deleted."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_VOICE_DELETED


class RequestIdReusedError(RequestError):
    """The request id belongs to a call with another payload."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = reasons.ERROR_REASON_REQUEST_ID_REUSED


class ProviderError(PixvoxError):
    """A provider failed."""

    reason = reasons.ERROR_REASON_PROVIDER_INTERNAL


class ProviderUnavailableError(ProviderError):
    """The provider did no work: it could not be reached, or refused."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = reasons.ERROR_REASON_PROVIDER_UNAVAILABLE


class ProviderDisconnectedError(ProviderError):
    """The provider broke off after the work had begun."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = reasons.ERROR_REASON_PROVIDER_DISCONNECTED


class ProviderInternalError(ProviderError):
    """The provider failed, or its answer makes no sense."""


class RateLimitedError(ProviderError):
    """The provider's rate limit is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = reasons.ERROR_REASON_RATE_LIMITED


class VoiceQuotaError(ProviderError):
    """The account has as many voices as it may."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = reasons.ERROR_REASON_VOICE_QUOTA


class ProviderNotConfiguredError(ProviderError):
    """The provider has no key."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_PROVIDER_NOT_CONFIGURED


class ProviderCredentialsError(ProviderError):
    """The provider refused the service's own key."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_PROVIDER_CREDENTIALS


class ProviderAccessDeniedError(ProviderError):
    """The service's account may not use the model."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = reasons.ERROR_REASON_PROVIDER_ACCESS_DENIED


class ProviderBillingError(ProviderError):
    """The service's account is overdue, not activated, or out of free quota."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_PROVIDER_BILLING


class ProviderConfigError(ProviderError):
    """The provider does not know the configured workspace or address."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_PROVIDER_CONFIG


class ProviderRejectedError(ProviderError):
    """The provider refused the call for a reason of its own."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_PROVIDER_REJECTED


class ProviderTimeoutError(ProviderError):
    """The provider gave up on the work by its own clock."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = reasons.ERROR_REASON_PROVIDER_TIMEOUT


class QuotaExceededError(ProviderError):
    """The provider's allocation for the account is used up for now."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = reasons.ERROR_REASON_QUOTA_EXCEEDED


class ConflictError(ProviderError):
    """The provider is busy with a conflicting call."""

    code = grpc.StatusCode.ABORTED
    reason = reasons.ERROR_REASON_CONFLICT


class TaskNotFoundError(ProviderError):
    """The provider no longer knows a task that it had accepted."""

    code = grpc.StatusCode.NOT_FOUND
    reason = reasons.ERROR_REASON_TASK_NOT_FOUND


class ModelEndpointMismatchError(ProviderError):
    """The model is not served where the service asked for it."""

    code = grpc.StatusCode.INTERNAL
    reason = reasons.ERROR_REASON_MODEL_ENDPOINT_MISMATCH


class OutcomeUnknownError(ProviderError):
    """The call went out and no answer came back; the work may have been done and billed."""

    code = grpc.StatusCode.UNKNOWN
    reason = reasons.ERROR_REASON_OUTCOME_UNKNOWN


class ServiceError(PixvoxError):
    """The service itself is the cause."""


class NoProviderError(ServiceError):
    """Nothing that is configured can do this kind of call."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_NO_PROVIDER


class SwitchedOffError(ServiceError):
    """The operator has switched it off."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_SWITCHED_OFF


class AnswerNotKeptError(ServiceError):
    """The call was answered before, and its answer is gone."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = reasons.ERROR_REASON_ANSWER_NOT_KEPT


class NotSentError(ServiceError):
    """A target was passed over: the service itself did not send the call to it."""


class CircuitOpenError(NotSentError):
    """The target has failed too often lately."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = reasons.ERROR_REASON_CIRCUIT_OPEN


class OverloadedError(NotSentError):
    """The call cannot start before its deadline, or too many wait already."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = reasons.ERROR_REASON_OVERLOADED


class OutputTooLargeError(ServiceError):
    """The finished media does not fit into one answer."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = reasons.ERROR_REASON_OUTPUT_TOO_LARGE


class DeadlineError(ServiceError):
    """The call's time was up."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = reasons.ERROR_REASON_DEADLINE_EXCEEDED


class ShuttingDownError(ServiceError):
    """This instance is going away."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = reasons.ERROR_REASON_SHUTTING_DOWN


class MethodNotFoundError(ServiceError):
    """There is no such method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = reasons.ERROR_REASON_METHOD_NOT_FOUND


class InternalError(ServiceError):
    """A fault that nobody foresaw; the log has it under the request's id."""


# After an error with one of these the work may have been done and billed, for all that is known; after any other it was
# not, and the call may be made again.
UNCERTAIN = frozenset(
    {
        reasons.ERROR_REASON_OUTCOME_UNKNOWN,
        reasons.ERROR_REASON_PROVIDER_DISCONNECTED,
        reasons.ERROR_REASON_PROVIDER_INTERNAL,
        reasons.ERROR_REASON_PROVIDER_TIMEOUT,
        reasons.ERROR_REASON_TASK_NOT_FOUND,
        reasons.ERROR_REASON_OUTPUT_TOO_LARGE,
        reasons.ERROR_REASON_DEADLINE_EXCEEDED,
        reasons.ERROR_REASON_SHUTTING_DOWN,
        reasons.ERROR_REASON_INTERNAL,
    }
)


def reason_name(reason: ErrorReason.ValueType) -> str:
    """Return a reason as it stands in `ErrorInfo`, without the enum's prefix."""
    return reasons.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def shortened(text: str) -> str:
    """Return text cut to what fits into trailers."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
