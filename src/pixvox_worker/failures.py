"""The ways in which a request can fail, each with the HTTP status and the words that the caller gets."""

from __future__ import annotations

from typing import ClassVar


class Failure(Exception):  # noqa: N818 - the subclasses are named by what went wrong
    """What went wrong, in one sentence that may leave the worker: no path and no stack trace.

    `param` names the field of the request that was wrong, `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, object]:
        """The object under `error` in every answer that is not a success."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.status}


class BadRequest(Failure):
    """A value that no retry makes right."""

    status = 400
    type = "invalid_request_error"


class UnsupportedTask(BadRequest):
    """The model that is loaded does something else."""

    type = "unsupported_task"


class Unauthorized(Failure):
    """No key, or one that is not known."""

    status = 401
    type = "authentication_error"


class NotFound(Failure):
    """No such model, or no such job."""

    status = 404
    type = "not_found_error"


class NotReady(Failure):
    """The job has no result: it was cancelled."""

    status = 409
    type = "conflict_error"


class Conflict(Failure):
    """Something of that name is there already."""

    status = 409
    type = "conflict_error"


class Gone(Failure):
    """The job's result was kept for its time and thrown away."""

    status = 410
    type = "expired_error"


class TooLarge(Failure):
    """More bytes or more pixels than are allowed."""

    status = 413
    type = "payload_too_large"


class NotAPicture(Failure):
    """The bytes are none of the formats that are read."""

    status = 415
    type = "unsupported_media_type"


class NotARecording(Failure):
    """The bytes are none of the sound formats that are read."""

    status = 415
    type = "unsupported_media_type"


class SlowReader(Failure):
    """The caller left so much unread that there was no room for it."""

    status = 408
    type = "slow_reader"


class Full(Failure):
    """Everything that may wait is waiting already."""

    status = 429
    type = "overloaded_error"


class Cancelled(Failure):
    """The caller took the request back."""

    status = 499
    type = "cancelled"


class Unavailable(Failure):
    """The model is loading, could not be loaded, or the worker is going down."""

    status = 503
    type = "unavailable_error"


class QueueTimeout(Unavailable):
    """The request waited for as long as it may and was never begun."""

    type = "queue_timeout"


class OutOfMemory(Unavailable):
    """The request did not fit into memory; the worker lives on."""

    type = "out_of_memory"


class DeadlineExceeded(Failure):
    """The caller's time, or the longest that is allowed, is over."""

    status = 504
    type = "timeout_error"
