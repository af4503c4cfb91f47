"""Checks of what is left: tasks after a call, and tasks, threads, files and sockets after `aclose`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pixvox.testing.conformance.cases import PICTURES, SPEECH, each, usual_cases
from pixvox.testing.conformance.ending import ending_of, told
from pixvox.testing.conformance.findings import Check, Finding
from pixvox.testing.conformance.trial import CLOSE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.testing.conformance.cases import Case
    from pixvox.testing.conformance.trial import Trial


_DESCRIPTORS = Path("/proc/self/fd")
_REPEATED = 3
# For an emulator, which is a part of this process, to notice that it was left.
_SETTLE_SECONDS = 2.0


async def check_tasks(case: Case) -> None:
    """Make calls, and look for tasks after them."""
    # What is opened once and kept, such as a connection, is not left behind.
    await case.served(case.usual())
    await asyncio.sleep(0.05)
    before = case.trial.tasks()
    for _ in range(_REPEATED):
        await case.served(case.usual())
    left = await case.trial.left(before)
    seen = f"{_REPEATED} calls left {len(left)} tasks running: {', '.join(sorted(set(left)))}"
    case.require(not left, seen, "No task outlives the call that started it.")


async def check_close(trial: Trial) -> None:
    """Close a provider that was never used, and one that was."""
    before = trial.tasks()
    for used in (False, True):
        async with trial.another(close=False) as other:
            if used:
                await _use(other)
            ending = await ending_of(other.entry.provider.aclose(), within=CLOSE_SECONDS)
        state = "after calls" if used else "without any call before it"
        if ending.error is not None:
            _require(trial, False, f"{state}, raised {told(ending.error)}")
        seen = f"{state}, did not end within {CLOSE_SECONDS:g} s"
        _require(trial, not ending.late, seen)
        left = await trial.left(before, within=_SETTLE_SECONDS)
        _require(trial, not left, f"{state}, left running: {', '.join(left)}")


async def check_resources(trial: Trial) -> None:
    """Live a whole life twice, and look what the second one leaves."""
    with _resource_warnings() as warned:
        await _life(trial)
        await asyncio.sleep(0.1)
        gc.collect()
        warned.clear()
        descriptors, threads = _descriptors(), _threads()
        await _life(trial)
        await _settled(descriptors, threads)
        gc.collect()
        opened = sorted(name for _, name in _descriptors() - descriptors)
        running = sorted(thread.name for thread in _threads() - threads)
        collected = sorted({str(one.message) for one in warned})
    _require(trial, not opened, f"left open: {', '.join(opened)}")
    _require(trial, not running, f"threads left running: {', '.join(running)}")
    _require(trial, not collected, f"was not closed but collected: {'; '.join(collected)}")


CHECKS = (
    Check("tasks", "No task outlives the call that started it.", each(check_tasks, *PICTURES, SPEECH), 5),
    Check("close", "aclose ends, with and without calls before it, and ends every task.", check_close, 4),
    Check("resources", "No thread, file or socket outlives the provider.", check_resources, 8),
)


def _require(trial: Trial, holds: bool, seen: str) -> None:
    if not holds:
        trial.find(Finding(seen, "aclose releases connections, threads and files, and ends every task.", "aclose"))


async def _use(trial: Trial) -> None:
    for case in usual_cases(trial):
        await case.served(case.usual())


async def _life(trial: Trial) -> None:
    async with trial.another() as other:
        await _use(other)


async def _settled(descriptors: set[tuple[str, str]], threads: set[threading.Thread]) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + _SETTLE_SECONDS
    while (_descriptors() - descriptors or _threads() - threads) and loop.time() < until:  # noqa: ASYNC110  # no event tells
        await asyncio.sleep(0.05)


def _descriptors() -> set[tuple[str, str]]:
    """Return what is open, each as its number and what it is; nothing where the system does not tell."""
    if not _DESCRIPTORS.is_dir():
        return set()
    found = set()
    for entry in os.listdir(_DESCRIPTORS):  # noqa: PTH208
        # That of the listing itself is closed by now.
        with contextlib.suppress(OSError):
            found.add((entry, os.readlink(_DESCRIPTORS / entry)))  # noqa: PTH115
    return found


def _threads() -> set[threading.Thread]:
    # The loop's own threads, which serve asyncio.to_thread, are the service's.
    return {thread for thread in threading.enumerate() if not thread.name.startswith(("asyncio_", "conformance"))}


@contextlib.contextmanager
def _resource_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Give the list to which the block's warnings of what was not closed are added; no others are heard."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ResourceWarning)
        yield caught
