"""A rollback holds for every process on the same database, and beyond their end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import sqlite3
import time
from typing import TYPE_CHECKING

import structlog

from databases import database, database_url, postgres
from pixvox.database import Database
from pixvox.routing.rollbacks import Rollback, Rollbacks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

__all__ = ["database", "database_url", "postgres"]

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
# Longer than any test.
NEVER = 1000.0


def rollback(target: str = "qwen/vc-1", fingerprint: str = "f1", message: str = "20 of 100 calls failed.") -> Rollback:
    return Rollback("voice-en", target, fingerprint, "error_rate", message, NOON)


@contextlib.asynccontextmanager
async def started(
    database: Database | None, refresh_seconds: float = NEVER, closing_seconds: float = 5.0
) -> AsyncIterator[Rollbacks]:
    rollbacks = Rollbacks(database, refresh_seconds=refresh_seconds, closing_seconds=closing_seconds)
    await rollbacks.start()
    try:
        yield rollbacks
    finally:
        await rollbacks.aclose()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


async def test_a_rollback_is_in_force_at_once_and_for_its_own_entry_alone(database):
    async with started(database) as rollbacks:
        assert rollbacks.of("voice-en", "qwen/vc-1", "f1") is None
        rollbacks.add(rollback())
        assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()
        # The operator has changed the weight or the trial.
        assert rollbacks.of("voice-en", "qwen/vc-1", "f2") is None
        assert rollbacks.of("voice-de", "qwen/vc-1", "f1") is None
        assert rollbacks.of("voice-en", "qwen/vc-2", "f1") is None


async def test_a_rollback_outlives_the_process_even_one_that_ends_right_after_it(database_url):
    for expected in (None, rollback()):
        opened = await Database.open(database_url)
        async with started(opened) as rollbacks:
            assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == expected
            rollbacks.add(rollback())
        await opened.aclose()


async def test_a_rollback_in_one_instance_is_in_force_in_the_other_after_a_refresh(database_url):
    one, other = await Database.open(database_url), await Database.open(database_url)
    async with started(one) as mine, started(other, 0.05) as theirs:
        with structlog.testing.capture_logs() as logs:
            mine.add(rollback())
            await until(lambda: theirs.of("voice-en", "qwen/vc-1", "f1"))
        assert theirs.of("voice-en", "qwen/vc-1", "f1") == rollback()
    told = {"route": "voice-en", "target": "qwen/vc-1", "measure": "error_rate", "message": "20 of 100 calls failed."}
    assert logs == [
        {"event": "canary rolled back", "log_level": "error", **told},
        {"event": "canary rolled back by another instance", "log_level": "warning", **told},
    ]
    await one.aclose()
    await other.aclose()


async def test_of_two_instances_that_roll_the_same_canary_back_the_first_is_kept(database_url):
    one, other = await Database.open(database_url), await Database.open(database_url)
    async with started(one) as mine, started(other) as theirs:
        # Neither knows of the other's.
        mine.add(rollback(message="first"))
        await mine.aclose()
        theirs.add(rollback(message="second"))
        assert theirs.of("voice-en", "qwen/vc-1", "f1").message == "second"
    async with started(one) as later:
        assert later.of("voice-en", "qwen/vc-1", "f1").message == "first"
    await one.aclose()
    await other.aclose()


async def test_a_rollback_that_is_in_force_already_is_not_told_again(database):
    async with started(database) as rollbacks:
        rollbacks.add(rollback())
        with structlog.testing.capture_logs() as logs:
            rollbacks.add(rollback(message="again"))
        assert logs == []
        assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()


async def test_a_canary_that_was_tried_again_can_be_rolled_back_again(database_url):
    opened = await Database.open(database_url)
    async with started(opened) as rollbacks:
        rollbacks.add(rollback(fingerprint="f1"))
        rollbacks.add(rollback(fingerprint="f2", message="again"))
    async with started(opened) as rollbacks:
        assert rollbacks.of("voice-en", "qwen/vc-1", "f2").message == "again"
        # An instance that still runs on the old file.
        assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()
    await opened.aclose()


async def test_without_a_database_rollbacks_hold_for_the_life_of_the_process():
    async with started(None) as rollbacks:
        rollbacks.add(rollback())
        assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()


async def test_a_rollback_has_the_time_of_its_making_unless_it_is_given_one():
    made = Rollback("voice-en", "qwen/vc-1", "f1", "p95", "slow")
    assert datetime.timedelta(0) <= datetime.datetime.now(datetime.UTC) - made.time < datetime.timedelta(seconds=5)


async def test_starting_again_changes_nothing(database):
    async with started(database) as rollbacks:
        tasks = len(asyncio.all_tasks())
        await rollbacks.start()
        assert len(asyncio.all_tasks()) == tasks


async def test_nothing_runs_on_after_the_end(database):
    before = asyncio.all_tasks()
    async with started(database, 0.01) as rollbacks:
        rollbacks.add(rollback())
        await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


def rename(file: Path, old: str, new: str) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as connection:
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")


def events(logs: list) -> list[str]:
    return [entry["event"] for entry in logs if entry["event"] != "database failed"]


async def test_a_database_that_fails_is_told_once_and_tried_until_it_works_again(tmp_path):
    opened = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/x.db")
    rename(tmp_path / "x.db", "rollbacks", "hidden")
    with structlog.testing.capture_logs() as logs:
        async with started(opened, 0.01) as rollbacks:
            rollbacks.add(rollback())
            await until(lambda: sum(entry["event"] == "database failed" for entry in logs) >= 3)
            assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()
            rename(tmp_path / "x.db", "hidden", "rollbacks")
            await until(lambda: "rollbacks are kept and learnt again" in events(logs))
    assert events(logs) == [
        "rollbacks are neither kept nor learnt until the database works again",
        "canary rolled back",
        "rollbacks are kept and learnt again",
    ]
    async with started(opened) as rollbacks:
        assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()
    await opened.aclose()


async def test_what_cannot_be_kept_is_told_at_the_end_which_is_not_put_off_for_it(tmp_path):
    opened = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/x.db")
    rename(tmp_path / "x.db", "rollbacks", "hidden")
    with structlog.testing.capture_logs() as logs:
        began = time.monotonic()
        async with started(opened, closing_seconds=0.2) as rollbacks:
            rollbacks.add(rollback())
    assert time.monotonic() - began < 3
    assert events(logs)[-1] == "a rollback could not be kept; after a restart the canary has its weight again"
    await opened.aclose()


async def test_calls_do_not_wait_for_a_database_that_is_busy(tmp_path):
    opened = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/x.db")
    async with started(opened) as rollbacks:
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            rollbacks.add(rollback())
            await asyncio.sleep(0.05)
            assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()
            assert time.monotonic() - began < 1
            writer.execute("ROLLBACK")
    async with started(opened) as rollbacks:
        assert rollbacks.of("voice-en", "qwen/vc-1", "f1") == rollback()
    await opened.aclose()
