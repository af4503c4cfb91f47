"""What the settings can say of workers, checked as a whole before anything starts."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from pixvox.providers.worker.models import ModelTable, completed

_SECONDS = ("connect_seconds", "stall_seconds", "health_seconds", "eject_seconds", "poll_seconds")

# Of a worker that says every ten seconds that it works, and of one that says nothing before it is done.
_QUIET_SECONDS = 60.0
_SILENT_SECONDS = 600.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Containers of our own, each of which has one model loaded.

    Attributes:
        url: Of a worker. It holds for all models that have no address of their own.
        urls: Instead of `url`, those of several workers.
        host: Instead of both, the worker's host; empty means that every call to a model without an address fails.
        port: Of that host.
        scheme: ``http`` or ``https``, of that host.
        contract: ``worker`` for our own; ``process`` for a container that has ``/process`` alone and makes or edits one
            picture at a time.
        api_key: Sent as a bearer token; empty for workers that ask for none.
        models: That are served, by their ids. Empty means `Qwen-Image-Edit`, the worker's own default.
        propagate_trace: Whether workers are told the trace that a request belongs to.
        connect_seconds: For name, connection and TLS together.
        read_seconds: How long a worker may send nothing during a call. 0 means 60 for our own, which sends a line every ten
            seconds while it works, and 600 for ``process``, which sends nothing before the picture.
        stall_seconds: How long a picture may make no step once it has made one.
        health_seconds: How often each of several workers is asked how much it has to do, while there are calls.
        health_path: Where it is asked.
        eject_seconds: How long one of several workers gets no calls after it took none, unless it says that it is well.
        poll_seconds: Before a job of ``process`` is asked after for the first time; later waits grow to five times as long.
        jobs: Whether ``process`` is asked to work by jobs, which can be cancelled.
        timeout_ms: `read_seconds` in milliseconds, as the plans have it; 0 means not given.
    """

    url: str = ""
    urls: tuple[str, ...] = ()
    host: str = ""
    port: int = 8000
    scheme: Literal["http", "https"] = "http"
    contract: Literal["worker", "process"] = "worker"
    api_key: str = ""
    models: dict[str, ModelTable] = {}
    propagate_trace: bool = True
    connect_seconds: float = 5.0
    read_seconds: float = 0.0
    stall_seconds: float = 120.0
    health_seconds: float = 2.0
    health_path: str = "/health"
    eject_seconds: float = 15.0
    poll_seconds: float = 1.0
    jobs: bool = False
    timeout_ms: int = 0

    def __post_init__(self) -> None:
        """Check and complete what the types do not say.

        Raises:
            ValueError: A value cannot be used; the text names it.
        """
        if self.url and self.urls:
            message = "urls: has its place without url; write all addresses there"
            raise ValueError(message)
        msgspec.structs.force_setattr(self, "url", self.url.rstrip("/"))
        msgspec.structs.force_setattr(self, "api_key", self.api_key.strip())
        self._check_values()
        if self.timeout_ms:
            msgspec.structs.force_setattr(self, "read_seconds", self.timeout_ms / 1000)
        msgspec.structs.force_setattr(self, "models", completed(self.models))
        for url in {
            *self.addresses,
            *(one for table in self.models.values() for one in table.urls + table.design_urls),
        }:
            _check_address(url)
        self._check_contract()

    def __repr__(self) -> str:
        """Return everything but the key."""
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())}, api_key=...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return everything but the key."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "api_key"]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of models that have none of their own; empty if there are none."""
        if self.urls or self.url:
            return tuple(url.rstrip("/") for url in self.urls) or (self.url,)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.scheme}://{host}:{self.port}",) if host else ()

    @property
    def waits(self) -> float:
        """Seconds that a worker may send nothing."""
        return self.read_seconds or (_QUIET_SECONDS if self.contract == "worker" else _SILENT_SECONDS)

    def addresses_of(self, model: str) -> tuple[str, ...]:
        """Return the addresses of the workers that serve a model; empty if there are none."""
        return tuple(url.rstrip("/") for url in self.models[model].urls) or self.addresses

    def designers_of(self, model: str) -> tuple[str, ...]:
        """Return the addresses of the workers that invent voices for a model; empty if there are none."""
        table = self.models[model]
        return (tuple(url.rstrip("/") for url in table.design_urls) or self.addresses) if table.design_name else ()

    def _check_values(self) -> None:
        if not self.api_key.isascii() or any(not one.isprintable() or one == " " for one in self.api_key):
            message = "api_key: holds characters that have no place in one"
            raise ValueError(message)
        for name in _SECONDS:
            if not 0 < getattr(self, name) < float("inf"):
                message = f"{name}: {getattr(self, name):g} is not more than 0"
                raise ValueError(message)
        for name in ("timeout_ms", "read_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                message = f"{name}: {getattr(self, name):g} is less than 0"
                raise ValueError(message)
        if not self.health_path.startswith("/") or any(one in self.health_path for one in "?# "):
            message = f"health_path: {self.health_path!r} is no path with a slash in front"
            raise ValueError(message)

    def _check_contract(self) -> None:
        if self.contract == "worker":
            return
        for name, table in self.models.items():
            if not table.draws:
                message = f"models.{name}: speaks, and the contract process has pictures alone"
                raise ValueError(message)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
        right = known and not parts.query and not parts.fragment and parts.port != 0
    except ValueError:
        right = False
    if not right:
        message = "url: an address is http(s), a host, and perhaps a port and a path; without credentials"
        raise ValueError(message)
