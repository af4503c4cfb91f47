"""What the settings can say of engines behind OpenAI's HTTP API, checked as a whole before anything starts."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from pixvox.providers.openai.catalogue import completed
from pixvox.providers.openai.dialects import DIALECTS, Name
from pixvox.providers.openai.model_table import ModelTable
from pixvox.upstream.addresses import host_and_port

OPENAI = "https://api.openai.com/v1"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One engine, or several alike.

    Attributes:
        dialect: ``openai``, ``vllm_omni``, ``sglang``, ``localai``, ``xinference``, ``speaches`` or ``kokoro``.
        base_url: Of the engine, usually with ``/v1`` at its end. Empty means OpenAI's, for its own dialect alone.
        urls: Instead of `base_url`, the addresses of several engines with the same models: each call goes to the one that has
            the least to do.
        api_key: Sent as a bearer token; empty for engines that have none.
        models: That the engine serves. Empty means those that are known of the dialect.
        connect_seconds: For name, connection and TLS together.
        read_seconds: How long an engine may send nothing during a call; a picture is sent at once when it is finished.
        eject_seconds: How long one of several engines gets no calls after it accepted no connection or said that it takes no
            work; where it says how it is, until it says that it is well.
        health_seconds: How often one of several engines is asked how it is, beside calls; 0 is never.
        result_hosts: From which finished pictures may be downloaded, beside the engines' own: domains with all that is below
            them, or HOST:PORT.
        propagate_trace: Whether the engines are told the trace that a request belongs to; for those of one's own.
    """

    dialect: Name = "openai"
    base_url: str = ""
    urls: tuple[str, ...] = ()
    api_key: str = ""
    models: tuple[ModelTable, ...] = ()
    connect_seconds: float = 5.0
    read_seconds: float = 300.0
    eject_seconds: float = 15.0
    health_seconds: float = 2.0
    result_hosts: tuple[str, ...] = ()
    propagate_trace: bool = False

    def __post_init__(self) -> None:
        """Complete what follows from the rest.

        Raises:
            ValueError: A value cannot be used; the text names it.
        """
        if self.base_url and self.urls:
            message = "urls: has its place without base_url; write all addresses there"
            raise ValueError(message)
        if not self.base_url and not self.urls:
            if self.dialect != "openai":
                message = f"base_url: is needed for {self.dialect}"
                raise ValueError(message)
            msgspec.structs.force_setattr(self, "base_url", OPENAI)
        for url in self.addresses:
            _check_address("base_url", url)
        msgspec.structs.force_setattr(self, "base_url", self.base_url.rstrip("/"))
        msgspec.structs.force_setattr(self, "urls", tuple(url.rstrip("/") for url in self.urls))
        msgspec.structs.force_setattr(self, "api_key", self.api_key.strip())
        msgspec.structs.force_setattr(self, "models", completed(self.dialect, self.models))
        for table in self.models:
            if table.design_url:
                _check_address(f"models: {table.id} has design_url", table.design_url)
        self._check_values()

    def __repr__(self) -> str:
        """Return everything but the key."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name != "api_key"}
        return f"Config({', '.join(f'{name}={value!r}' for name, value in shown.items())}, api_key=...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return everything but the key."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "api_key"]

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the engines, at least one."""
        return self.urls or (self.base_url,)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts from which results may be downloaded, the engines' own among them."""
        return (*dict.fromkeys(_authority(url) for url in self.addresses), *self.result_hosts)

    @property
    def needs_key(self) -> bool:
        """Whether every call fails because there is no key."""
        return DIALECTS[self.dialect].needs_key and not self.api_key

    def _check_values(self) -> None:
        if not self.api_key.isascii() or any(not one.isprintable() or one == " " for one in self.api_key):
            message = "api_key: holds characters that have no place in one"
            raise ValueError(message)
        if not 0 <= self.health_seconds < float("inf"):
            message = f"health_seconds: {self.health_seconds:g} is less than 0"
            raise ValueError(message)
        for name in ("connect_seconds", "read_seconds", "eject_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                message = f"{name}: {getattr(self, name):g} is not more than 0"
                raise ValueError(message)
        for entry in self.result_hosts:
            host, port = host_and_port(entry.removeprefix("."))
            if port is None and "." not in host and ":" not in host:
                message = f"result_hosts: {entry!r} is a whole top-level domain; a host of one label needs a port"
                raise ValueError(message)


def _check_address(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
        right = known and not parts.query and not parts.fragment and parts.port != 0
    except ValueError:
        right = False
    if not right:
        message = f"{name}: an address is http(s), a host, and perhaps a port and a path; without credentials"
        raise ValueError(message)


def _authority(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
