"""Log lines as OpenTelemetry has them."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import get_current

from pixvox.telemetry.complaints import SDK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.util.types import AnyValue

# https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
)
# These are fields of a record by themselves, or become attributes of another name.
_OWN_FIELDS = {"event", "level", "timestamp", "exc_info", "exception", "stack_info", "trace_id", "span_id"}
# What the exporters' own threads say would have to be exported by them.
_EXPORTERS = (SDK, "urllib3", "requests")


class Records(logging.Handler):
    """Makes a record of each line and emits it.

    The event is the body, its fields are the attributes. Of an exception there are the type and the frames, and not the
    message: it may quote what a caller sent, and a record leaves the machine.

    Args:
        provider: Takes the records.
    """

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        """Emit a line of structlog or of the standard library."""
        if record.name.partition(".")[0] in _EXPORTERS:
            return
        fields: Mapping[str, Any] = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        severity = _severity(record.levelno)
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                context=get_current(),
                severity_number=severity,
                severity_text=severity.name,
                body=str(fields.get("event", "")),
                attributes={
                    **{key: _value(value) for key, value in fields.items() if key not in _OWN_FIELDS},
                    **_of_exception(fields.get("exc_info") or record.exc_info),
                },
            )
        )


def _severity(level: int) -> SeverityNumber:
    return next((severity for least, severity in _SEVERITIES if level >= least), SeverityNumber.DEBUG)


def _value(value: object) -> AnyValue:
    """Return a field's value as an attribute may have it."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [str(one) for one in value]
    return str(value)


def _of_exception(exc_info: object) -> dict[str, str]:
    """Return the attributes of an exception, which comes as itself, as a triple, or as True for the current one."""
    given = sys.exc_info() if exc_info is True else exc_info
    error = given[1] if isinstance(given, tuple) else given
    if not isinstance(error, BaseException):
        return {}
    kind = type(error)
    return {
        "exception.type": kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}",
        "exception.stacktrace": "".join(traceback.format_tb(error.__traceback__)),
    }
