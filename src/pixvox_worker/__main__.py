"""`python -m pixvox_worker`: serve one model, as the environment says."""

from __future__ import annotations

import contextlib
import logging
import os
import sys

import uvicorn

from pixvox_worker.app import create_app
from pixvox_worker.settings import from_environment
from pixvox_worker.telemetry import TraceFilter


def main() -> None:
    """Serve until told to stop."""
    settings = from_environment()
    output = logging.StreamHandler()
    output.addFilter(TraceFilter())
    form = "%(asctime)s %(levelname)s %(name)s %(message)s trace=%(trace_id)s"
    logging.basicConfig(level=logging.INFO, format=form, handlers=[output])
    status = 0
    try:
        uvicorn.run(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=int(settings.shutdown_grace) + 5,
        )
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    logging.shutdown()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    # Python would wait for the thread of the engine, which may be loading for minutes or in a step that does not end. It
    # matters as the first process of a container, whom the signal does not end by itself.
    os._exit(status)


if __name__ == "__main__":
    main()
