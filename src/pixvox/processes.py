"""Several worker processes behind one gRPC port, each with its own event loop.

grpc.aio allows one loop per process, so a machine's cores are used by processes that listen with SO_REUSEPORT; the kernel
spreads connections over them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from pixvox.settings import SettingsError, address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import SpawnProcess
    from types import FrameType

    from pixvox.settings import Settings

log = structlog.get_logger("pixvox.processes")

# A worker that dies sooner than this after its start would die again.
SETTLED_SECONDS = 5.0
STOP_MARGIN_SECONDS = 10.0


def supervise(settings: Settings, work: Callable[[Settings], None]) -> int:
    """Keep `settings.server.workers` processes running `work` until SIGTERM or SIGINT; return the exit code.

    A worker that dies after it had settled is replaced; one that dies at its start ends everything.

    Raises:
        SettingsError: The port is taken.
    """
    host, port = address(settings.server.listen, "server.listen")
    with _reserved(host, port) as holder:
        bound = holder.getsockname()[1]
        shared = _replaced(settings, listen=f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}")
        return _Workers(shared, work).run()


class _Workers:
    def __init__(self, settings: Settings, work: Callable[[Settings], None]) -> None:
        self._settings = settings
        self._work = work
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[int, tuple[SpawnProcess, float]] = {}
        self._stopping = False
        self._hung_up = False
        self._terminal = Terminal()

    def run(self) -> int:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        for index in range(self._settings.server.workers):
            self._start(index)
        let_hangups_through()
        code = 0
        while self._running:
            multiprocessing.connection.wait([process.sentinel for process, _ in self._running.values()], timeout=0.5)
            for index, (process, started) in list(self._running.items()):
                if process.exitcode is not None:
                    del self._running[index]
                    code = max(code, self._ended(index, process.exitcode, time.monotonic() - started))
        return code

    def _start(self, index: int) -> None:
        process = self._context.Process(target=self._work, args=(self._of_worker(index),), name=f"pixvox-{index}")
        # The worker inherits that the signal waits, until it has something to do with it.
        with _hangups_held():
            process.start()
            self._running[index] = (process, time.monotonic())
        if self._hung_up:
            # The others have read the settings again since the start; this one has those of the start.
            _signalled(process, signal.SIGHUP)

    def _of_worker(self, index: int) -> Settings:
        side = self._settings.server.http
        if side:
            host, port = address(side, "server.http")
            side = f"{host}:{port + index if port else 0}"
        return _replaced(self._settings, http=side, admin=self._settings.server.admin if index == 0 else "")

    def _ended(self, index: int, code: int, seconds: float) -> int:
        if self._stopping:
            return 0 if code == 0 else 1
        log.error("worker died", worker=index, exit_code=code, seconds=round(seconds, 1))
        if seconds < SETTLED_SECONDS:
            self._stop(signal.SIGTERM, None)
            return 1
        self._start(index)
        return 0

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopping = True
        for process, _started in self._running.values():
            process.terminate()

    def _hang_up(self, _: int, __: FrameType | None) -> None:
        if self._terminal.is_gone():
            self._stop(signal.SIGTERM, None)
            return
        self._hung_up = True
        for process, _started in self._running.values():
            _signalled(process, signal.SIGHUP)


class Terminal:
    """Tells whether the terminal of the start is gone: closing it sends SIGHUP, as does one who wants a reload."""

    def __init__(self) -> None:
        self._was = os.isatty(0)

    def is_gone(self) -> bool:
        """Tell whether there was one and it is closed."""
        return self._was and not os.isatty(0)


def let_hangups_through() -> None:
    """Let SIGHUP come, also one that came while it was held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextlib.contextmanager
def _hangups_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signalled(process: SpawnProcess, number: signal.Signals) -> None:
    # It may have ended meanwhile.
    if process.pid is not None and process.exitcode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _reserved(host: str, port: int) -> socket.socket:
    """Hold the port without listening, so that it stays ours between workers and no stranger's bind goes unnoticed."""
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A bind without SO_REUSEPORT fails if anyone listens there; then it is opened again to be shared.
        holder.bind((host, port))
        bound = holder.getsockname()[1]
    except OSError as error:
        raise SettingsError(f"server.listen: cannot listen on {host}:{port}: {error.strerror}") from error
    finally:
        holder.close()
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((host, bound))
    return holder


def _replaced(settings: Settings, **server: object) -> Settings:
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **server))
