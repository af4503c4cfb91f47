"""The service's account with the vendor: where it is reached, with which key, and what a refusal means there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pixvox.errors import PixvoxError, ProviderNotConfiguredError
from pixvox.providers.dashscope import refusals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pixvox.providers.dashscope.config import Config
    from pixvox.upstream import Reply, Upstream

_NO_KEY = "The provider has no key; set QWEN_API_KEY, or api_key in its table of the settings, and start anew."


class Account:
    """One account in one region, shared by all parts of the provider. Opens nothing by itself.

    Attributes:
        region: Its name, for receipts and prices.
        http: For calls and event streams; waits `Config.timeout_ms` for each next byte.
        sockets: For WebSockets; waits without limit, because a caller's text may come slowly.
        results: Downloads finished media.
    """

    def __init__(self, config: Config, upstream: Upstream) -> None:
        headers = {"accept": "application/json", "authorization": f"Bearer {config.api_key}"}
        if config.workspace:
            headers["x-dashscope-workspace"] = config.workspace
        self.region = config.region
        self.http = upstream.origin(
            config.http_base,
            headers=headers,
            read_seconds=config.timeout_ms / 1000,
            refusal=refusals.retry_seconds,
            identify=refusals.ids_of,
            propagate=config.propagate_trace,
        )
        self.sockets = upstream.origin(
            config.ws_base,
            headers=headers,
            refusal=refusals.retry_seconds,
            identify=refusals.ids_of,
            propagate=config.propagate_trace,
        )
        self.results = upstream.results(config.result_hosts)
        self._has_key = bool(config.api_key)

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return "" if self._has_key else _NO_KEY

    def check_ready(self) -> None:
        """Do nothing if there is a key.

        Raises:
            ProviderNotConfiguredError: There is none.
        """
        if not self._has_key:
            raise ProviderNotConfiguredError(_NO_KEY, metadata={"region": self.region})

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Have what fails in the block name the region, and the vendor's code and id even where there are none."""
        try:
            yield
        except PixvoxError as error:
            error.metadata = {"region": self.region, "provider_code": "", "provider_request_id": ""} | error.metadata
            raise

    def refused(
        self, reply: Reply, *, private: Iterable[str] = (), pause: float = refusals.RATE_SECONDS
    ) -> PixvoxError:
        """Return the error for a reply that is no result; see `refusals.error_of`."""
        return refusals.error_of(refusals.complaint_of(reply), region=self.region, private=private, pause=pause)
