"""The database opens, migrates once, and tells an operator what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from databases import database, database_url, migrated_when_ready, postgres, postgres_url
from pixvox.database import Database, DatabaseError, migrate
from pixvox.database.address import address_of
from pixvox.database.schema import METADATA
from pixvox.settings import SettingsError

__all__ = ["database", "database_url", "postgres", "postgres_url"]


def blocking(url: str) -> sa.Engine:
    return sa.create_engine(address_of(url).blocking_url, poolclass=sa.NullPool)


def execute(url: str, statement: str) -> list[tuple]:
    with blocking(url).begin() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


async def test_a_database_that_was_opened_has_exactly_the_schema_of_the_code(database, database_url):
    del database
    with blocking(database_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == migrate.HEAD


def test_the_newest_revision_in_the_package_is_the_one_that_a_start_looks_for():
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


async def test_opening_again_changes_nothing_and_keeps_what_is_there(database_url):
    assert migrate.migrate(address_of(database_url)) is True
    assert migrate.migrate(address_of(database_url)) is False
    opened = await Database.open(database_url)
    async with opened.transaction() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM voices")).scalar() == 0
    await opened.aclose()


def test_of_many_processes_that_start_at_once_one_migrates_and_the_others_wait_for_it(database_url):
    spawned = multiprocessing.get_context("spawn")
    ready, results = spawned.Barrier(4), spawned.Queue()
    processes = [spawned.Process(target=migrated_when_ready, args=(database_url, ready, results)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    # Whoever came second has found nothing to do, either at once or when it had the lock.
    assert any(results.get(timeout=5) for _ in processes)
    assert execute(database_url, "SELECT version_num FROM alembic_version") == [(migrate.HEAD,)]


def test_a_migration_that_fails_leaves_nothing_behind(database_url):
    # In the way of the first step.
    execute(database_url, "CREATE TABLE ix_voices_create_time_id (id int)")
    with pytest.raises(SettingsError, match=r"database\.url: .* cannot be used: .*already"):
        migrate.migrate(address_of(database_url))
    assert not sa.inspect(blocking(database_url)).has_table("voices")
    execute(database_url, "DROP TABLE ix_voices_create_time_id")
    assert migrate.migrate(address_of(database_url)) is True


async def test_a_database_of_a_newer_version_is_refused(database_url):
    await (await Database.open(database_url)).aclose()
    execute(database_url, "UPDATE alembic_version SET version_num = 'v9999'")
    with pytest.raises(SettingsError, match=r"migrated by a newer version of the service .*v9999"):
        await Database.open(database_url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pixvox.db",
        "mysql://host/name",
        "sqlite+aiosqlite://",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///x.db?mode=ro",
        "postgresql+asyncpg://host/name",
        "postgresql://user@host:port/name",
    ],
)
async def test_an_address_that_cannot_be_used_is_refused_by_its_name(url):
    with pytest.raises(SettingsError, match=r"^database\.url: "):
        await Database.open(url)


async def test_a_place_that_cannot_be_written_is_told_to_the_operator(tmp_path):
    with pytest.raises(SettingsError, match=r"database\.url: sqlite\S+/none/x\.db cannot be used: unable to open"):
        await Database.open(f"sqlite+aiosqlite:///{tmp_path}/none/x.db")


async def test_a_file_that_is_no_database_is_told_to_the_operator(tmp_path):
    (tmp_path / "x.db").write_text("It was a dark and stormy night; the rain fell in torrents, except at intervals.")
    with pytest.raises(SettingsError, match="not a database"):
        await Database.open(f"sqlite+aiosqlite:///{tmp_path}/x.db")


async def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path):
    with pytest.raises(SettingsError, match="cannot be used") as refused:
        await Database.open(f"postgresql+psycopg://ann:hush@/name?host={tmp_path}&password=hush")
    assert "ann@" in str(refused.value)
    assert "hush" not in str(refused.value)


async def test_the_password_is_never_shown(tmp_path):
    address = address_of("postgres://ann:hush@db.example:5433/name?sslmode=require&password=hush")
    assert repr(address) == "Address(postgresql+psycopg://ann@db.example:5433/name)"
    assert address.conninfo == "postgresql://ann:hush@db.example:5433/name?sslmode=require&password=hush"


async def test_sqlite_lets_readers_read_while_something_is_written(tmp_path):
    opened = await Database.open(f"sqlite:///{tmp_path}/x.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as writer:
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM voices")
        async with asyncio.timeout(5), opened.transaction() as connection:
            assert (await connection.exec_driver_sql("SELECT count(*) FROM voices")).scalar() == 0
    await opened.aclose()


async def change_and_fail(database: Database, failure: str | None) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'lost'")
        if failure is None:
            raise ZeroDivisionError
        await connection.exec_driver_sql(failure)


@pytest.mark.parametrize(
    ("failure", "error"), [("SELECT nothing FROM nowhere", DatabaseError), (None, ZeroDivisionError)]
)
async def test_what_fails_in_a_transaction_is_undone_and_only_the_databases_failures_are_our_own(
    database, failure, error
):
    with pytest.raises(error):
        await change_and_fail(database, failure)
    async with database.transaction() as connection:
        found = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar()
    assert found == migrate.HEAD


async def test_callers_who_leave_in_the_middle_do_not_use_up_the_connections(database):
    async def read() -> None:
        async with database.transaction() as connection:
            for _ in range(20):
                await connection.exec_driver_sql("SELECT count(*) FROM voices")

    for _ in range(3):
        tasks = [asyncio.create_task(read()) for _ in range(20)]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0.001 * (number % 3))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(10):
        await asyncio.gather(*(read() for _ in range(20)))


async def test_connections_that_the_server_has_dropped_are_replaced(postgres_url):
    opened = await Database.open(postgres_url)
    async with opened.transaction() as connection:
        first = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar()
    with psycopg.connect(address_of(postgres_url).conninfo, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (first,))
    async with opened.transaction() as connection:
        assert (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar() != first
    await opened.aclose()


def test_opening_a_database_that_is_up_to_date_loads_neither_sqlalchemy_nor_alembic(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/x.db"
    migrate.migrate(address_of(url))
    program = f"""
import asyncio, sys
from pixvox.database import Database
from pixvox.voices import VoiceStore
VoiceStore(asyncio.run(Database.open({url!r})))
print(sorted({{"sqlalchemy", "alembic", "aiosqlite", "psycopg"}} & set(sys.modules)))
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
