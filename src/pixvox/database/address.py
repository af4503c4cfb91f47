"""Which database an address means, found out without loading a driver.

Source: https://docs.sqlalchemy.org/en/21/core/engines.html#database-urls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pixvox.settings import SettingsError

# Each scheme that is taken, with the driver that serves it.
_SCHEMES = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is.

    Attributes:
        url: For SQLAlchemy, with an asynchronous driver. Holds the password; never shown.
        file: Of SQLite; None for PostgreSQL.
        shown: The address without the password.
    """

    url: str
    file: Path | None
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    @property
    def blocking_url(self) -> str:
        """For SQLAlchemy, with a driver that blocks."""
        return self.url.replace("+aiosqlite", "", 1) if self.file is not None else self.url

    @property
    def conninfo(self) -> str:
        """For libpq (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING)."""
        return self.url.replace("+psycopg", "", 1)


def address_of(url: str) -> Address:
    """Return the database that `database.url` of the settings means.

    Raises:
        SettingsError: It is none that the service can use.
    """
    scheme, separator, rest = url.partition("://")
    driver = _SCHEMES.get(scheme)
    if not separator or driver is None:
        raise SettingsError(
            f"database.url: {scheme if separator else 'it'!r} is no kind of database; allowed:"
            " sqlite+aiosqlite:///FILE and postgresql+psycopg://USER:PASSWORD@HOST/NAME"
        )
    if driver.startswith("sqlite"):
        return Address(f"{driver}://{rest}", _file(rest), f"{driver}://{rest}")
    return Address(f"{driver}://{rest}", None, _without_password(f"{driver}://{rest}"))


def _file(rest: str) -> Path:
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in {"", ":memory:"} or "?" in path:
        raise SettingsError(
            "database.url: SQLite needs a file: sqlite+aiosqlite:///pixvox.db beside the service, or"
            " sqlite+aiosqlite:////var/lib/pixvox/pixvox.db; it has no options"
        )
    return Path(path)


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise SettingsError(f"database.url: {error}") from error
    user = f"{unquote(parts.username)}@" if parts.username else ""
    # Options can hold a password, too.
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path}"
