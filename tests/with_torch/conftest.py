"""Workers with real code and tiny weights, each a process of its own; collected only by `make test-worker`, which has torch."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calling import stubs_of
from fake_worker import free_port, wait_until_ready
from pixvox import server
from serving import settings_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from calling import Stubs

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / ".venv-worker/bin/python"
SPEECH = ROOT / ".venv-worker-speech/bin/python"

if not os.environ.get("PIXVOX_TEST_TORCH"):
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Fleet:
    """The addresses of five workers, one for each kind of model."""

    draws: str
    edits: str
    speaks: str
    clones: str
    designs: str

    def table(self) -> dict[str, object]:
        """The table of a provider that asks them."""
        small = {"max_pixels": 256 * 256, "steps": 2}
        return {
            "kind": "worker",
            "models": {
                "tiny-draw": {"urls": [self.draws], "tasks": ["text-to-image"], "name": "qwen-image", **small},
                "tiny-edit": {"urls": [self.edits], "tasks": ["image-editing"], "name": "qwen-image-edit", **small},
                "tiny-speak": {
                    "urls": [self.speaks],
                    "tasks": ["custom-voice"],
                    "name": "qwen3-tts-custom-voice",
                    "voices": ["vivian", "ryan"],
                },
                "tiny-clone": {
                    "urls": [self.clones],
                    "tasks": ["voice-clone"],
                    "name": "qwen3-tts-base",
                    "design_name": "qwen3-tts-voice-design",
                    "design_urls": [self.designs],
                },
            },
        }


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All five, ready."""
    folder = tmp_path_factory.mktemp("tiny")
    kinds = {
        "qwen-image": PICTURES,
        "qwen-image-edit": PICTURES,
        "qwen3-tts-custom-voice": SPEECH,
        "qwen3-tts-base": SPEECH,
        "qwen3-tts-voice-design": SPEECH,
    }
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(_worker(python, kind, folder / kind)) for kind, python in kinds.items()]
        for port in ports:
            wait_until_ready(port, seconds=180)
        yield Fleet(*(f"http://127.0.0.1:{port}" for port in ports))


@pytest.fixture
async def stubs(fleet: Fleet) -> AsyncIterator[Stubs]:
    """Stubs of a service in front of the workers."""
    async with (
        server.running(settings_with({"gpu": fleet.table()}, {})) as running,
        stubs_of(running.target) as reached,
    ):
        yield reached


@contextlib.contextmanager
def _worker(python: Path, kind: str, folder: Path) -> Iterator[int]:
    """The port of a worker with a tiny model of a kind, which may not be ready yet."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
        "DEVICE": "cpu",
        "TORCH_THREADS": "1",
        "MODEL_NAME": str(folder),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SHUTDOWN_GRACE": "5",
    }
    subprocess.run([python, "-m", "pixvox_worker.tiny", kind, folder], env=environment, check=True, timeout=120)
    with subprocess.Popen([python, "-m", "pixvox_worker"], env=environment) as process:
        try:
            yield port
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
