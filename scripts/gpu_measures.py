"""What `gpu_check.py` measures and verifies on a running worker: one function for each."""

from __future__ import annotations

import base64
import io
import itertools
import math
import subprocess
import threading
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker_process import WorkerError, picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker_process import Answer, WorkerProcess

_DRAW = "/v1/images/generations"
_EDIT = "/v1/images/edits"
_HEALTH_LIMIT = 0.05
_RATE = 24_000
_LARGE = 4096
# Takes what is left of the GPU, says so, and holds it until its input ends.
_BALLAST = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
ballast = torch.empty(max(1, free - 128 * 1024 * 1024), dtype=torch.uint8, device="cuda")
print("full", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `verdict` is ok, failed, measured or skipped."""

    model: str
    settings: str
    check: str
    verdict: str
    value: float | None = None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is looked at; `side` is that of its pictures in pixels."""

    label: str
    name: str
    side: int
    steps: int

    def body(self, tasks: list[str], **fields: object) -> dict[str, object]:
        """A request that the model can do; layers have their own size."""
        body: dict[str, object] = {"prompt": "a lighthouse", "num_inference_steps": self.steps, "seed": 1, **fields}
        if "image-layering" in tasks:
            return {**body, "layers": 2, "images": [picture(64)]}
        body = {"size": f"{self.side}x{self.side}", **body}
        return body if "text-to-image" in tasks else {**body, "images": [picture(64)]}


@dataclass(frozen=True, slots=True)
class Bench:
    """A running worker with the model that is looked at."""

    worker: WorkerProcess
    subject: Subject
    settings: str
    tasks: list[str]

    @property
    def path(self) -> str:
        """The route that the model answers."""
        return _DRAW if "text-to-image" in self.tasks else _EDIT

    def make(self, **fields: object) -> Answer:
        """One picture, or one set of layers."""
        return self.worker.post(self.path, self.subject.body(self.tasks, **fields))

    def find(
        self, check: str, verdict: str | bool, value: float | None = None, unit: str = "", note: str = ""
    ) -> Finding:
        """A line about this worker; a truth value is ok or failed."""
        said = ("ok" if verdict else "failed") if isinstance(verdict, bool) else verdict
        rounded = None if value is None else round(value, 4)
        return Finding(self.subject.label, self.settings, check, said, rounded, unit, note)


def determinism(bench: Bench) -> Iterator[Finding]:
    """The same seed gives the same bytes, another seed others."""
    answers = [bench.make(), bench.make(), bench.make(seed=2)]
    codes = [answer.status for answer in answers]
    if codes != [200, 200, 200]:
        yield bench.find("determinism", verdict=False, note=f"statuses {codes}")
        return
    first, again, other = (answer.content["data"] for answer in answers)
    yield bench.find("determinism", verdict=first == again != other)


def speed(bench: Bench) -> Iterator[Finding]:
    """Seconds of a picture once everything is warm, of a step, and the memory that it took."""
    bench.make()
    moments = [
        after
        for name, _, after in bench.worker.events(bench.path, bench.subject.body(bench.tasks, stream=True))
        if name == "x.progress"
    ]
    yield bench.find("picture", "measured", bench.make().seconds, "s", f"{bench.subject.steps} steps")
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    if gaps:
        yield bench.find("step", "measured", sum(gaps) / len(gaps), "s")
    used = gpu_memory()
    if used is not None:
        yield bench.find("GPU memory in use", "measured", used, "MiB", "by everything on the GPU, after the picture")


def previews(bench: Bench) -> Iterator[Finding]:
    """Two unfinished pictures come before the finished one, which they do not change."""
    steps = max(6, bench.subject.steps)
    body = bench.subject.body(bench.tasks, stream=True, partial_images=2, num_inference_steps=steps)
    heard = list(bench.worker.events(bench.path, body))
    partial = [data["b64_json"] for name, data, _ in heard if name.endswith("partial_image")]
    done = [data["b64_json"] for name, data, _ in heard if name.endswith("completed")]
    alone = [item["b64_json"] for item in bench.make(num_inference_steps=steps).content["data"]]
    yield bench.find("previews", verdict=len(partial) == 2 and done == alone and not set(partial) & set(done))


def cancelling(bench: Bench) -> Iterator[Finding]:
    """From the request to cancel until the model is free again: at most two steps and a second."""
    if "image-layering" in bench.tasks:
        yield bench.find("cancel", "skipped", note="layers are no jobs")
        return
    body = bench.subject.body(bench.tasks)
    options = {"async": True, "steps": 200, "width": bench.subject.side, "height": bench.subject.side}
    images = {"image": images[0]} if isinstance(images := body.get("images"), list) else {}
    job = bench.worker.post("/process", {"prompt": "a lighthouse", "options": options, **images}).content["job_id"]
    status = _await_state(bench.worker, job, "running")
    step = _mean_step(bench.worker)
    begun = time.monotonic()
    bench.worker.post(f"/job/{job}/cancel", {})
    while bench.worker.get("/health").content["running"]:
        time.sleep(0.002)
    seconds = time.monotonic() - begun
    fast = status == "running" and seconds <= 2 * step + 1
    yield bench.find("cancel", fast, seconds, "s", f"a step takes {step:.3f} s")


def health(bench: Bench) -> Iterator[Finding]:
    """The probe's p99 while the model works; measured a second time where the machine was busy with something else."""
    for _ in range(2):
        seconds = _ask_health(bench)
        p99 = sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1]
        if p99 < _HEALTH_LIMIT:
            break
    yield bench.find("/health p99 while it works", p99 < _HEALTH_LIMIT, p99 * 1000, "ms", f"of {len(seconds)}")


def batching(bench: Bench) -> Iterator[Finding]:
    """Pictures per second with one, two and four requests at a time, and whether company changes them."""
    alone = [bench.make(seed=seed).content["data"] for seed in range(4)]
    for count in (1, 2, 4):
        begun = time.monotonic()
        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(lambda seed: bench.make(seed=seed), range(count)))
        seconds = time.monotonic() - begun
        if any(answer.status != 200 for answer in answers):
            yield bench.find(
                f"batch of {count}", verdict=False, note=f"statuses {[answer.status for answer in answers]}"
            )
            continue
        same = [answer.content["data"] for answer in answers] == alone[:count]
        note = "as alone" if same else "not bit for bit as alone"
        yield bench.find(f"batch of {count}", "measured", count / seconds, "pictures/s", note)


def memory_that_runs_out(bench: Bench, python: Path) -> Iterator[Finding]:
    """A picture that does not fit beside a ballast costs that one request, and the next one is as before."""
    if "image-layering" in bench.tasks:
        yield bench.find("out of memory", "skipped", note="layers cannot be asked for larger")
        return
    before = bench.make()
    with subprocess.Popen([str(python), "-c", _BALLAST], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ballast:
        if ballast.stdout is None or ballast.stdout.readline() != b"full\n":
            yield bench.find("out of memory", "skipped", note="the ballast found no room")
            return
        crowded = bench.make(size=f"{_LARGE}x{_LARGE}")
        ballast.communicate()
    kind = crowded.content.get("error", {}).get("type") if isinstance(crowded.content, dict) else None
    after = bench.make()
    lives = after.status == 200 and after.content["data"] == before.content["data"]
    yield bench.find("out of memory", (crowded.status, kind, lives) == (503, "out_of_memory", True), note=str(kind))


def speech(bench: Bench) -> Iterator[Finding]:
    """The time to the first sound, and seconds of work per second of sound."""
    body = _speech_body(bench)
    list(bench.worker.events("/v1/audio/speech", body))
    heard = list(bench.worker.events("/v1/audio/speech", body))
    sound = [(base64.b64decode(data["audio"]), after) for name, data, after in heard if name == "speech.audio.delta"]
    if not sound or heard[-1][0] != "speech.audio.done":
        yield bench.find(
            "speech", verdict=False, note=f"{len(sound)} pieces, then {heard[-1][0] if heard else 'nothing'}"
        )
        return
    samples = sum(len(pcm) for pcm, _ in sound) // 2
    yield bench.find("speech", any(any(pcm) for pcm, _ in sound), samples / _RATE, "s", "of sound that is not silent")
    yield bench.find("time to the first sound", "measured", sound[0][1], "s")
    yield bench.find(
        "real-time factor", "measured", heard[-1][2] * _RATE / samples, "", "below 1 is faster than it is heard"
    )


def gpu_memory() -> float | None:
    """Mebibytes in use on the first GPU; None without one."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return float(answer.stdout.split()[0])


def _await_state(worker: WorkerProcess, job: str, wanted: str) -> str:
    while True:
        state: str = worker.get(f"/job/{job}/status").content["status"]
        if state == wanted or state in ("completed", "failed", "cancelled"):
            return state
        time.sleep(0.005)


def _mean_step(worker: WorkerProcess) -> float:
    total, count = worker.metric("worker_step_seconds_sum"), worker.metric("worker_step_seconds_count")
    return total / count if total and count else 0.0


def _ask_health(bench: Bench) -> list[float]:
    """How long each probe took until a picture or two, and a few hundred probes, were done."""
    seconds: list[float] = []
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            bench.make()

    working = threading.Thread(target=work)
    working.start()
    try:
        while len(seconds) < 300:
            seconds.append(bench.worker.get("/health").seconds)
            time.sleep(0.005)
    finally:
        done.set()
        working.join()
    return seconds


def _speech_body(bench: Bench) -> dict[str, Any]:
    body: dict[str, Any] = {
        "input": "The lighthouse has been dark for years.",
        "language": "English",
        "stream": True,
        "seed": 1,
    }
    if "custom-voice" in bench.tasks:
        return {**body, "voice": bench.worker.get("/v1/audio/voices").content["voices"][0]}
    if "voice-design" in bench.tasks:
        return {**body, "instructions": "An old man with a calm voice."}
    if "voice-clone" in bench.tasks:
        return {**body, "ref_audio": _recording(), "x_vector_only_mode": True}
    message = f"{bench.subject.label} does not speak: {bench.tasks}"
    raise WorkerError(message)


def _recording() -> str:
    """Two seconds of a tone that swells, as a WAV in a data: URL."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        count = 2 * _RATE
        values = (int(12_000 * n / count * math.sin(2 * math.pi * 180 * n / _RATE)) for n in range(count))
        sound.writeframes(b"".join(value.to_bytes(2, "little", signed=True) for value in values))
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()
