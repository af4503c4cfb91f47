"""`python -m pixvox_worker`: serve one model, as the environment says."""

from __future__ import annotations

import logging

import uvicorn

from pixvox_worker.app import create_app
from pixvox_worker.settings import from_environment


def main() -> None:
    """Serve until told to stop."""
    settings = from_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
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
