"""Structured logs on standard error: text on a terminal, a JSON object a line otherwise; and by OTLP where that is set."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
import zlib
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace

from pixvox.errors import PixvoxError
from pixvox.telemetry import complaints, current_call
from pixvox.telemetry.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

    from pixvox.settings import LogSettings
    from pixvox.telemetry import Telemetry

# The event of the line that is written at the end of every call.
CALL = "call"


def set_up(settings: LogSettings) -> None:
    """Configure structlog and the standard library's logging, which libraries use, alike.

    A line that is written within a call has the call's `request_id`, and its `trace_id` and `span_id` if it is traced.
    """
    text = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        _with_call,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_none,
    ]
    sampling = [_Sampling(settings.sample)] if settings.sample < 1 else []
    structlog.configure(
        processors=[*sampling, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *(_text() if text else _json())],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    complaints.hear()
    # Below warnings these say what the call line says better.
    # aiosqlite says what is written to the database, which is what callers sent.
    for noisy in ("uvicorn", "asyncio", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextlib.contextmanager
def exported(telemetry: Telemetry) -> Iterator[None]:
    """Have the lines of the block exported as well, if telemetry has somewhere to export them to."""
    if telemetry.log_records is None:
        yield
        return
    handler = Records(telemetry.log_records)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def is_written(code: str, request_id: str, share: float) -> bool:
    """Tell whether a call's line is written.

    Args:
        code: The call's status. Everything but OK is written.
        request_id: Of the call. One that comes again is written again or left out again, by whatever instance.
        share: Of the lines of calls that went well, 0..1.
    """
    return code != "OK" or zlib.crc32(request_id.encode()) < share * 2**32


class _Sampling:
    """Leaves out lines of calls that went well, but for a share of them."""

    def __init__(self, share: float) -> None:
        self._share = share

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if event["event"] == CALL and not is_written(event["code"], event["request_id"], self._share):
            raise structlog.DropEvent
        return event


def _with_call(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    with contextlib.suppress(LookupError):
        event.setdefault("request_id", current_call().request_id)
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", trace.format_trace_id(context.trace_id))
        event.setdefault("span_id", trace.format_span_id(context.span_id))
    return event


def _without_none(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: value for key, value in event.items() if value is not None}


def _text() -> list[Processor]:
    return [
        structlog.stdlib.ExtraAdder(),
        # The default shows the local variables, which hold what callers sent.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]


def _json() -> list[Processor]:
    # Here and not before, so that whoever else takes the line has the exception itself.
    return [structlog.processors.ExceptionRenderer(_without_messages), structlog.processors.JSONRenderer()]


def _without_messages(exc_info: ExcInfo) -> str:
    """Return what an exception and those that led to it are and where they come from, and not what they say.

    Such lines leave the machine, and what an exception says that nobody foresaw may quote what a caller sent. Ours are made
    not to.
    """
    return "\n".join(
        f"{''.join(traceback.format_tb(one.__traceback__))}{_last_line(one)}" for one in _chain(exc_info[1])
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _chain(before)
    yield error


def _last_line(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}: {error.message}" if isinstance(error, PixvoxError) else name
