"""Brings a database to the schema of today, once, however many processes start at the same time.

Everything here blocks. Alembic is loaded only where there is something to do, so an ordinary start pays for one query.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pixvox.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pixvox.database.address import Address

# The newest revision in migrations/versions.
HEAD = "v0004"
# How long a process waits for another one that migrates.
LOCK_SECONDS = 60.0

_MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = "SELECT version_num FROM alembic_version"
# Any number will do that no other user of the same database has: the letters of "pixvox".
_ADVISORY_LOCK = int.from_bytes(b"pixvox")


def migrate(address: Address) -> bool:
    """Bring the database to `HEAD`; return whether there was anything to do.

    Raises:
        SettingsError: It cannot be reached or written, or was migrated by a newer version of the service.
    """
    try:
        if _version(address) == HEAD:
            return False
    except OSError as error:
        raise _unusable(address, error) from error
    return _migrated(address)


def _version(address: Address) -> str | None:
    """Return the database's revision, None if it has none.

    Raises:
        OSError: It cannot be reached.
    """
    return _sqlite_version(address.file) if address.file is not None else _postgres_version(address.conninfo)


def _sqlite_version(file: Path) -> str | None:
    if not file.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=LOCK_SECONDS)) as connection:
            row = connection.execute(_VERSION).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise OSError(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise OSError(str(error)) from error
    return None if row is None else str(row[0])


def _postgres_version(conninfo: str) -> str | None:
    # Takes a tenth of a second to import, which users of SQLite need not spend.
    import psycopg  # noqa: PLC0415

    try:
        with psycopg.connect(conninfo, connect_timeout=10) as connection:
            row = connection.execute(_VERSION).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    except psycopg.Error as error:
        raise OSError(str(error).strip()) from error
    return None if row is None else str(row[0])


def _migrated(address: Address) -> bool:
    # Takes a third of a second to import.
    import alembic.command  # noqa: PLC0415
    import alembic.config  # noqa: PLC0415
    import alembic.util  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with _locked(address) as connection:
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
    except alembic.util.CommandError as error:
        raise SettingsError(
            f"database.url: {address.shown} was migrated by a newer version of the service ({error}); install that one"
        ) from error
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        raise _unusable(address, error) from error
    return True


@contextlib.contextmanager
def _locked(address: Address) -> Iterator[Connection]:
    """Give a connection whose transaction nobody else can have at the same time; leaving the block commits it."""
    import sqlalchemy as sa  # noqa: PLC0415

    if address.file is not None:
        _use_write_ahead_log(address.file)
    engine = sa.create_engine(
        address.blocking_url,
        poolclass=sa.NullPool,
        # The driver begins no transaction of its own before DDL, so SQLite is told when to begin one.
        isolation_level="AUTOCOMMIT" if address.file is not None else None,
        connect_args={"timeout": LOCK_SECONDS} if address.file is not None else {},
    )
    try:
        with engine.connect() as connection, _exclusive(connection, address):
            yield connection
    finally:
        engine.dispose()


@contextlib.contextmanager
def _exclusive(connection: Connection, address: Address) -> Iterator[None]:
    if address.file is None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        yield
        connection.commit()
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    # What does not come to COMMIT is rolled back when the connection closes.
    yield
    connection.exec_driver_sql("COMMIT")


def _use_write_ahead_log(file: Path) -> None:
    """Let readers and a writer work at the same time; the file remembers it (https://www.sqlite.org/wal.html).

    Raises:
        sqlite3.OperationalError: The file cannot be written.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    with contextlib.closing(sqlite3.connect(file, timeout=LOCK_SECONDS)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # While another process does the same, SQLite says so at once rather than wait.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return


def _unusable(address: Address, error: Exception) -> SettingsError:
    cause = getattr(error, "orig", None) or error
    return SettingsError(f"database.url: {address.shown} cannot be used: {str(cause).strip()}")
