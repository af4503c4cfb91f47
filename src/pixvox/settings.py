"""The service's settings: a TOML file, the environment and the command line, read here and nowhere else.

Later sources win: defaults, then the file, then the environment, then what the command line gives.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FILE = Path("pixvox.toml")
MEBIBYTE = 1024 * 1024

ENVIRONMENT = {
    "PIXVOX_LISTEN": "server.listen",
    "PIXVOX_HTTP": "server.http",
    "PIXVOX_ADMIN": "server.admin",
    "PIXVOX_WORKERS": "server.workers",
    "PIXVOX_GRACE_SECONDS": "server.grace_seconds",
    "PIXVOX_REFLECTION": "server.reflection",
    "PIXVOX_LOG_LEVEL": "log.level",
    "PIXVOX_LOG_FORMAT": "log.format",
    "PIXVOX_FETCH_ALLOWED_HOSTS": "fetch.allowed_hosts",
    "PIXVOX_SPAN_FILE": "telemetry.span_file",
    "PIXVOX_DATABASE_URL": "database.url",
    "PIXVOX_PRICES_FILE": "prices.file",
}

# What a kind of provider takes from the environment where its table says nothing; of two names for one field the first
# wins. The names are those that operators of the vendors' own tools know.
PROVIDER_ENVIRONMENT = {
    "dashscope": {
        "QWEN_API_KEY": "api_key",
        "DASHSCOPE_API_KEY": "api_key",
        "QWEN_REGION": "region",
        "DASHSCOPE_REGION": "region",
        "DASHSCOPE_BASE_URL": "http_base",
        "QWEN_IMAGE_MODEL": "image_model",
        "QWEN_IMAGE_EDIT_MODEL": "image_edit_model",
        "QWEN_TIMEOUT_MS": "timeout_ms",
        "QWEN_VC_TARGET_MODEL": "vc_target_model",
        "QWEN_VD_TARGET_MODEL": "vd_target_model",
        "QWEN_MAX_TEXT_CHARS": "max_text_chars",
    },
}
# Fields whose presence in the environment is enough for the provider to be there when no file says otherwise.
KEY_FIELDS = {"dashscope": "api_key"}


class SettingsError(Exception):
    """The settings cannot be used; the text names the source and the value for the operator."""


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and how the service listens.

    Attributes:
        listen: HOST:PORT of gRPC; port 0 takes a free one.
        http: HOST:PORT of health and metrics over HTTP; empty switches it off. With several workers the k-th uses PORT+k.
        admin: HOST:PORT of channelz; empty (the default) switches it off.
        workers: Processes that share the gRPC port.
        grace_seconds: How long running calls may go on after SIGTERM.
        max_request_bytes: Largest request message.
        max_response_bytes: Largest answer message.
        reflection: Whether clients may ask for the contract.
    """

    listen: str = "127.0.0.1:50051"
    http: str = "127.0.0.1:8080"
    admin: str = ""
    workers: int = 1
    grace_seconds: float = 30.0
    max_request_bytes: int = 48 * MEBIBYTE
    max_response_bytes: int = 64 * MEBIBYTE
    reflection: bool = True


class DeadlineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds that a call may take when its caller set no deadline, and the most that a caller may ask for."""

    generate_image: float = 180.0
    edit_image: float = 300.0
    stream_speech: float = 900.0
    synthesize_speech: float = 300.0
    make_voice: float = 180.0
    read: float = 10.0
    longest: float = 3600.0


class FetchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How inputs that are named by address are downloaded.

    Attributes:
        allowed_hosts: Hosts (or HOST:PORT) that may be visited although they are not public.
        seconds: For one download, redirects included.
        max_bytes: Of one download.
    """

    allowed_hosts: tuple[str, ...] = ()
    seconds: float = 15.0
    max_bytes: int = 20 * MEBIBYTE


class InputSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of input pictures that hold for every model.

    Attributes:
        max_bytes: Of one encoded file.
        max_pixels: Width times height, checked before a picture is decoded.
    """

    max_bytes: int = 20 * MEBIBYTE
    max_pixels: int = 100_000_000


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is logged, to standard error. `auto` is text on a terminal and JSON otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where telemetry goes.

    Attributes:
        span_file: A file to which finished spans are appended, a JSON object a line. Empty means none.
    """

    span_file: str = ""


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the catalogue of voices is kept.

    Attributes:
        url: An SQLAlchemy address: SQLite (a file) or PostgreSQL (for several instances).
    """

    url: str = "sqlite+aiosqlite:///pixvox.db"


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What calls cost.

    Attributes:
        file: A table of prices that is laid over the built-in one. Empty means none.
    """

    file: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set.

    Attributes:
        providers: By name, in order of preference; each table has `kind`, may have `enabled`, and the rest is that
            kind's own configuration.
        defaults: Verb (`generate_image`, `edit_image`, `stream_speech`, `clone_voice`, `design_voice`) to PROVIDER or
            PROVIDER/MODEL.
    """

    server: ServerSettings = ServerSettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    fetch: FetchSettings = FetchSettings()
    inputs: InputSettings = InputSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    database: DatabaseSettings = DatabaseSettings()
    prices: PriceSettings = PriceSettings()
    providers: dict[str, dict[str, Any]] = msgspec.field(default_factory=lambda: {"sandbox": {"kind": "sandbox"}})
    defaults: dict[Literal["generate_image", "edit_image", "stream_speech", "clone_voice", "design_voice"], str] = {}

    def __repr__(self) -> str:
        """Return nothing but the providers' names: their tables hold keys."""
        return f"Settings(providers={list(self.providers)})"


def load(
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings.

    Args:
        path: The file. None takes `$PIXVOX_CONFIG`, else `pixvox.toml` of the working directory if there is one.
        overrides: Dotted names such as `server.listen` to values; None values are left out.
        environment: Instead of the process's own, for tests.

    Raises:
        SettingsError: A source cannot be read or holds a bad value.
    """
    environment = os.environ if environment is None else environment
    if path is None and (named := environment.get("PIXVOX_CONFIG")):
        path = Path(named)
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    settings = _with_providers(_from_file(path), environment, appear=path is None)
    for name, dotted in ENVIRONMENT.items():
        if (text := environment.get(name)) is not None:
            settings = _with(settings, dotted, _from_text(dotted, text), source=name)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            settings = _with(settings, dotted, value, source=dotted)
    _check(settings)
    return settings


def address(text: str, name: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        SettingsError: It is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{name}: {text!r} is not HOST:PORT, for example 127.0.0.1:50051")
    return host.strip("[]"), int(port)


def _from_file(path: Path | None) -> Settings:
    if path is None:
        return Settings()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _with_providers(settings: Settings, environment: Mapping[str, str], *, appear: bool) -> Settings:
    """Fill the providers' tables from the environment; with `appear`, a key alone puts its provider first."""
    tables = dict(settings.providers)
    for kind, names in PROVIDER_ENVIRONMENT.items():
        values: dict[str, object] = {}
        for name, field in names.items():
            if text := environment.get(name):
                values.setdefault(field, text)
        if appear and KEY_FIELDS[kind] in values:
            tables = {kind: {"kind": kind}, **tables}
        tables = {name: {**values, **table} if table.get("kind") == kind else table for name, table in tables.items()}
    return msgspec.structs.replace(settings, providers=tables)


def _from_text(dotted: str, text: str) -> object:
    if dotted == "fetch.allowed_hosts":
        return [host.strip() for host in text.split(",") if host.strip()]
    return text


def _with(settings: Settings, dotted: str, value: object, source: str) -> Settings:
    table, _, key = dotted.partition(".")
    section = getattr(settings, table)
    try:
        changed = msgspec.convert(
            msgspec.structs.asdict(section) | {key: value}, type=type(section), strict=False, from_attributes=True
        )
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}: {error}") from error
    return msgspec.structs.replace(settings, **{table: changed})


def _check(settings: Settings) -> None:
    address(settings.server.listen, "server.listen")
    for name in ("http", "admin"):
        if text := getattr(settings.server, name):
            address(text, f"server.{name}")
    if settings.server.workers < 1:
        raise SettingsError(f"server.workers: {settings.server.workers} is less than 1")
    if settings.server.grace_seconds < 0:
        raise SettingsError(f"server.grace_seconds: {settings.server.grace_seconds:g} is less than 0")
    for key in settings.deadlines.__struct_fields__:
        if getattr(settings.deadlines, key) <= 0:
            raise SettingsError(f"deadlines.{key}: has to be more than 0 seconds")
    for name, table in settings.providers.items():
        if not isinstance(table.get("kind"), str):
            raise SettingsError(f'providers.{name}: kind is missing, for example kind = "sandbox"')
