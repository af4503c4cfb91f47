"""What the exit codes of the command line mean."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """The exit codes; scripts may rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INVALID_REQUEST = 3
    UNAVAILABLE = 4
    DEADLINE = 5
    EXHAUSTED = 6
    INCOMPLETE = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the call failed for another reason than those below, or a check failed",
    ExitCode.USAGE: "the command line or the configuration is wrong; nothing was sent",
    ExitCode.INVALID_REQUEST: "the service refused the request: something in it has to change",
    ExitCode.UNAVAILABLE: "the service or its provider cannot be reached; trying later is worthwhile",
    ExitCode.DEADLINE: "the time was up",
    ExitCode.EXHAUSTED: "a rate limit or a size limit is used up",
    ExitCode.INCOMPLETE: "the audio broke off; what came is in FILE.partial",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C; the call was cancelled",
}

_BY_STATUS = {
    "INVALID_ARGUMENT": ExitCode.INVALID_REQUEST,
    "NOT_FOUND": ExitCode.INVALID_REQUEST,
    "ALREADY_EXISTS": ExitCode.INVALID_REQUEST,
    "OUT_OF_RANGE": ExitCode.INVALID_REQUEST,
    "UNAVAILABLE": ExitCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ExitCode.DEADLINE,
    "RESOURCE_EXHAUSTED": ExitCode.EXHAUSTED,
}


def exit_code(status: str) -> ExitCode:
    """Return the exit code for a gRPC status by its name, such as ``NOT_FOUND``."""
    return _BY_STATUS.get(status, ExitCode.FAILED)
