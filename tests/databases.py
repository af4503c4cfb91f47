"""Real databases for tests: SQLite files, and a PostgreSQL of our own that ends with the tests."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from machine import lacks
from pixvox.database import Database, migrate
from pixvox.database.address import address_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """Run a server that listens on a socket in a folder, and give the folder."""
    binaries = _binaries()
    if binaries is None:
        lacks("PostgreSQL's server", "postgresql")
    # Short, because the path of a socket is limited to about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    owner = _owner()
    if owner is not None:
        os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
    data = folder / "data"
    # The shell ends the server when its input ends, which it does however this process ends.
    command = ["sh", "-c", '"$@" & read _; kill -QUIT $!; wait', "sh", binaries / "postgres", "-D", data, "-k", folder]
    options = ["listen_addresses=", "fsync=off", "max_connections=200"]
    try:
        _run(owner, binaries / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync")
        words = [*map(str, command), *(word for option in options for word in ("-c", option))]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(words, user=owner, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/") as server,
        ):
            _until_it_answers(folder, server)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the address of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/test.db"
        return
    with _created(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def postgres_url(postgres: Path) -> Iterator[str]:
    """Give the address of an empty database of PostgreSQL."""
    with _created(postgres) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Give an open database, once of each kind."""
    opened = await Database.open(database_url)
    yield opened
    await opened.aclose()


@contextlib.contextmanager
def _created(folder: Path) -> Iterator[str]:
    name = f"test{next(_NUMBERS)}"
    with psycopg.connect(f"host={folder} user=tests dbname=postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield f"postgresql+psycopg://tests@/{name}?host={folder}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda path: int(path.parent.name), default=None)


def _owner() -> str | None:
    """Return as whom to run the server, which refuses to be root; None as ourselves."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _until_it_answers(folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"host={folder} user=tests dbname=postgres").close()
            return
        time.sleep(0.05)
    raise AssertionError((folder / "log").read_text())


def _run(owner: str | None, *command: object) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, user=owner, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)


def migrated_when_ready(url: str, ready: Barrier, results: Queue[bool]) -> None:
    """Migrate when all are ready; here, where a spawned process can import it."""
    ready.wait(30)
    results.put(migrate.migrate(address_of(url)))
