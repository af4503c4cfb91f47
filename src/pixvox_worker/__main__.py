"""`python -m pixvox_worker`: serve one model, as the environment says."""

from __future__ import annotations

import logging

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
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=int(settings.shutdown_grace) + 5,
    )


if __name__ == "__main__":
    main()
