"""What all calls of one provider share: where its engines are, whether there is a key, and what a refusal says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.errors import ProviderInternalError, ProviderNotConfiguredError
from pixvox.providers.openai import refusals
from pixvox.providers.openai.dialects import DIALECTS
from pixvox.providers.openai.pool import Pool

if TYPE_CHECKING:
    from pixvox.providers.openai.config import Config
    from pixvox.upstream import Upstream

_NO_KEY = "The provider has no key; set api_key in its table of the settings, and start anew."


class Engine:
    """The engines of one provider. Opens nothing by itself.

    Attributes:
        dialect: That they speak.
        tables: Of their models, by id.
        pool: Takes the calls.
        results: Downloads what they name by its address.
    """

    def __init__(self, config: Config, upstream: Upstream) -> None:
        headers = {"authorization": f"Bearer {config.api_key}"} if config.api_key else {}
        origins = [
            (
                url,
                upstream.origin(
                    url,
                    headers=headers,
                    connect_seconds=config.connect_seconds,
                    read_seconds=config.read_seconds,
                    refusal=refusals.retry_seconds,
                    identify=refusals.ids_of,
                    propagate=config.propagate_trace,
                ),
            )
            for url in config.addresses
        ]
        self.dialect = DIALECTS[config.dialect]
        self.tables = {table.id: table for table in config.models}
        self.pool = Pool(origins, eject_seconds=config.eject_seconds)
        self.results = upstream.results(config.hosts)
        self._needs_key = config.needs_key

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return _NO_KEY if self._needs_key else ""

    def check_ready(self) -> None:
        """Do nothing if there is a key, or none is needed.

        Raises:
            ProviderNotConfiguredError: There is none.
        """
        if self._needs_key:
            raise ProviderNotConfiguredError(_NO_KEY)


def senseless(what: str, request_id: str, replay: str = "accepted") -> ProviderInternalError:
    """Return the error for an answer that is none; goes on after "The provider"."""
    metadata = {"provider_code": "", "provider_request_id": request_id, "replay": replay}
    return ProviderInternalError(f"The provider {what}; the work may have been billed.", metadata=metadata)
