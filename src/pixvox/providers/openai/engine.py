"""What all calls of one provider share: where its engines are, whether there is a key, and what a refusal says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.errors import ProviderInternalError, ProviderNotConfiguredError
from pixvox.providers.openai import refusals
from pixvox.providers.openai.dialects import DIALECTS
from pixvox.providers.openai.health import declined, probe_of, root_of
from pixvox.upstream.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.errors import PixvoxError
    from pixvox.providers.openai.config import Config
    from pixvox.upstream import Origin, Reply, Upstream

_NO_KEY = "The provider has no key; set api_key in its table of the settings, and start anew."


class Engine:
    """The engines of one provider. Opens nothing by itself.

    Attributes:
        dialect: That they speak.
        tables: Of their models, by id.
        pool: Takes the calls.
        designers: Take the calls for designs of voices, by the ids of the models that the voices are for.
        results: Downloads what they name by its address.
    """

    def __init__(self, config: Config, upstream: Upstream) -> None:
        self._config = config
        self._upstream = upstream
        self.dialect = DIALECTS[config.dialect]
        self.tables = {table.id: table for table in config.models}
        self.pool = self._pool(config.addresses)
        self.designers = {
            table.id: self._pool([table.design_url]) if table.design_url else self.pool
            for table in config.models
            if table.designs
        }
        self.results = upstream.results(config.hosts)

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return _NO_KEY if self._config.needs_key else ""

    def check_ready(self) -> None:
        """Do nothing if there is a key, or none is needed.

        Raises:
            ProviderNotConfiguredError: There is none.
        """
        if self._config.needs_key:
            raise ProviderNotConfiguredError(_NO_KEY)

    def _pool(self, urls: Sequence[str]) -> Pool:
        config = self._config
        alone = len(urls) == 1
        roots = {} if alone else {url: self._origin(root_of(url), waits=False) for url in urls}
        return Pool(
            [(url, self._origin(url, waits=alone)) for url in urls],
            eject_seconds=config.eject_seconds,
            probe=probe_of(self.dialect, roots, config.health_seconds),
            declined=declined,
        )

    def _origin(self, url: str, *, waits: bool) -> Origin:
        """Return the origin of an address, which waits for a rate limit to pass, or leaves that to the pool."""
        config = self._config
        return self._upstream.origin(
            url,
            headers={"authorization": f"Bearer {config.api_key}"} if config.api_key else {},
            connect_seconds=config.connect_seconds,
            read_seconds=config.read_seconds,
            refusal=refusals.retry_seconds if waits else None,
            identify=refusals.ids_of,
            propagate=config.propagate_trace,
        )


def without_result(reply: Reply, what: str) -> PixvoxError:
    """Return the error for an answer that says success and holds no result: that which it tells, if it tells one.

    Args:
        reply: The answer.
        what: Goes on after "The provider" where it tells none.
    """
    complaint = refusals.complaint_of(reply)
    if not complaint.code:
        return senseless(what, complaint.request_id)
    error = refusals.error_of(complaint)
    # Gateways that answer so may have asked an engine before.
    error.metadata = error.metadata | {"replay": "accepted"}
    return error


def senseless(what: str, request_id: str, replay: str = "accepted") -> ProviderInternalError:
    """Return the error for an answer that is none; goes on after "The provider"."""
    metadata = {"provider_code": "", "provider_request_id": request_id, "replay": replay}
    return ProviderInternalError(f"The provider {what}; the work may have been billed.", metadata=metadata)
