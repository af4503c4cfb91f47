"""Starts the worker as a process of its own and talks HTTP to it, with the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).resolve().parents[1] / "src"


class WorkerError(Exception):
    """The worker did not start, or went away."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `content` is what its JSON says, if it is JSON."""

    status: int
    content: Any
    seconds: float


class WorkerProcess:
    """`python -m pixvox_worker` on a port of its own."""

    def __init__(self, python: Path, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        self._port = _free_port()
        given = {"HOST": "127.0.0.1", "PORT": str(self._port), "PYTHONPATH": str(SOURCE), **environment}
        self._begun = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(python), "-m", "pixvox_worker"], env={**os.environ, **given}, stdout=output, stderr=output
            )

    def wait(self, seconds: float) -> float:
        """Seconds until it was ready.

        Raises:
            WorkerError: it is not, and the log says why.
        """
        while time.monotonic() - self._begun < seconds:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                health = self.get("/health")
                if health.status == 200:
                    return time.monotonic() - self._begun
                if health.content["status"] == "unhealthy":
                    break
            time.sleep(0.1)
        raise WorkerError(self._last_words())

    def stop(self) -> None:
        """End it, by force if need be."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> Answer:
        """One GET."""
        return self._ask("GET", path, None, 30)

    def post(self, path: str, body: dict[str, object], seconds: float = 900) -> Answer:
        """One POST of JSON."""
        return self._ask("POST", path, body, seconds)

    def metric(self, name: str) -> float | None:
        """The value of a metric without labels."""
        with contextlib.closing(self._connect(30)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)

    def events(self, path: str, body: dict[str, object], seconds: float = 900) -> Iterator[tuple[str, Any, float]]:
        """The events of a stream: name, data, and the seconds after which each came."""
        begun = time.monotonic()
        with contextlib.closing(self._connect(seconds)) as connection:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise WorkerError(f"{path}: {answer.status} {answer.read(500)!r}")
            name = ""
            for line in answer:
                if line.startswith(b"event: "):
                    name = line[7:].strip().decode()
                elif line.startswith(b"data: "):
                    yield name, json.loads(line[6:]), time.monotonic() - begun

    def _ask(self, method: str, path: str, body: dict[str, object] | None, seconds: float) -> Answer:
        begun = time.monotonic()
        with contextlib.closing(self._connect(seconds)) as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
            is_json = answer.getheader("content-type", "").startswith("application/json")
            return Answer(answer.status, json.loads(data) if is_json else data, time.monotonic() - begun)

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return f"the worker did not get ready; {self._log} ends with: {lines[-1] if lines else 'nothing'}"


@contextlib.contextmanager
def running(
    python: Path, log: Path, environment: dict[str, str], seconds: float
) -> Iterator[tuple[WorkerProcess, float]]:
    """A worker that is ready, and the seconds that it took to get there.

    Raises:
        WorkerError: it does not get ready within `seconds`.
    """
    worker = WorkerProcess(python, log, environment)
    try:
        yield worker, worker.wait(seconds)
    finally:
        worker.stop()


def picture(side: int) -> str:
    """A square PNG with a gradient, in base64; made by hand, as the driver has no imaging library."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(side) for v in (x * 255 // side, y * 255 // side, 128)) for y in range(side)
    )
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    body = b"".join(_chunk(name, data) for name, data in chunks)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
