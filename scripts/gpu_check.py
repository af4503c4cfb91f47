"""Build, time and verify the worker on a CUDA machine; `--device cpu` runs the same on tiny models without one.

Run by `make gpu-check`. Leaves `report.json`, `report.md` and the logs of every worker that it started in its folder. Exit
code 1 says that a check failed, 3 that there is no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gpu_measures as measures
from gpu_measures import Bench, Finding, Subject
from worker_process import SOURCE, WorkerError, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Measure = Callable[[Bench], Iterator[Finding]]

ROOT = SOURCE.parent
NO_GPU = 3
# Looked for in the cache of the hub; nothing is downloaded that was not asked for.
KNOWN = (
    "Qwen/Qwen-Image",
    "Qwen/Qwen-Image-2512",
    "Qwen/Qwen-Image-Edit",
    "Qwen/Qwen-Image-Edit-2511",
    "Qwen/Qwen-Image-Layered",
    "Qwen/Qwen-Image-2.1",
)
KNOWN_SPEECH = (
    "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice",
    "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign",
    "Qwen/Qwen3-TTS-12Hz-1.7B-Base",
)
TINY = ("qwen-image", "qwen-image-edit", "qwen-image-2.1", "qwen-image-layered")
TINY_SPEECH = ("qwen3-tts-custom-voice", "qwen3-tts-voice-design", "qwen3-tts-base")
MODES = (
    {"OFFLOAD": "model"},
    {"OFFLOAD": "sequential"},
    {"OFFLOAD": "group"},
    {"QUANT": "int8"},
    {"QUANT": "fp8"},
    {"QUANT": "nf4"},
    {"COMPILE": "true"},
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and where."""

    device: str
    python: Path
    speech_python: Path | None
    folder: Path
    quick: bool
    start_seconds: float


def main() -> int:
    """Run the checks and write the report."""
    arguments = _arguments()
    if arguments.device == "cuda" and not _has_gpu():
        print("gpu-check: there is no CUDA GPU on this machine; --device cpu runs the same checks on tiny models.")
        return NO_GPU
    folder = arguments.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        device=arguments.device,
        python=arguments.python or _environment(arguments.device),
        speech_python=_speech_environment(arguments.speech_python),
        folder=folder,
        quick=arguments.quick,
        start_seconds=3600 if arguments.model else 1200,
    )
    machine = _machine(plan)
    findings = []
    for finding in _checks(plan, tuple(arguments.model)):
        print(
            f"  {finding.verdict:9} {finding.model} {finding.settings} {finding.check}: {_figure(finding)}", flush=True
        )
        findings.append(finding)
    _write(plan.folder, machine, findings)
    print(f"gpu-check: {plan.folder / 'report.md'}")
    return 1 if any(finding.verdict == "failed" for finding in findings) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-check")
    given = [name] if (name := os.environ.get("MODEL_NAME")) else []
    parser.add_argument("--model", action="append", default=given, help="an id or a folder; fetched if need be")
    parser.add_argument(
        "--python", type=Path, help="of an environment with the worker's requirements; made if not given"
    )
    parser.add_argument("--speech-python", type=Path, default=ROOT / ".venv-worker-speech" / "bin" / "python")
    parser.add_argument("--quick", action="store_true", help="every measure once, on the cheapest model for it")
    return parser.parse_args()


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None and measures.gpu_memory() is not None


def _environment(device: str) -> Path:
    """The interpreter that runs the worker; for CUDA one with the torch and torchvision of PyPI, which are built for it."""
    folder = ROOT / (".venv-worker-gpu" if device == "cuda" else ".venv-worker")
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        extra = ["torchvision", "bitsandbytes"] if device == "cuda" else []
        wanted = ["--requirement", str(ROOT / "requirements" / "worker.in"), *extra]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def _speech_environment(python: Path) -> Path | None:
    return python if python.exists() else None


def _machine(plan: Plan) -> dict[str, object]:
    """What it ran on.

    Raises:
        SystemExit: torch sees no GPU where one is to be checked.
    """
    code = (
        "import json, platform, torch, diffusers; cuda = torch.cuda.is_available(); "
        "print(json.dumps({'gpu': torch.cuda.get_device_name() if cuda else None, 'torch': torch.__version__,"
        " 'cuda': torch.version.cuda, 'diffusers': diffusers.__version__, 'python': platform.python_version()}))"
    )
    answer = subprocess.run([str(plan.python), "-c", code], capture_output=True, text=True, check=True)
    machine: dict[str, object] = json.loads(answer.stdout.splitlines()[-1])
    if plan.device == "cuda" and machine["gpu"] is None:
        sys.exit(f"gpu-check: the torch of {plan.python} ({machine['torch']}) sees no GPU.")
    return {"device": plan.device, **machine}


def _checks(plan: Plan, models: tuple[str, ...]) -> Iterator[Finding]:
    tiny = {kind: _tiny(plan, plan.python, kind, side=64, steps=4) for kind in (TINY[:2] if plan.quick else TINY)}
    real = [] if plan.quick else [_real(name) for name in dict.fromkeys((*models, *_cached(KNOWN)))]
    for subject in [tiny["qwen-image-edit"]] if plan.quick else [*tiny.values(), *real]:
        yield from _on(plan, subject, {}, _usual(plan))
    for subject in [tiny["qwen-image"], *real]:
        batched = {"MAX_BATCH_SIZE": "4", "BATCH_WAIT_MS": "50"}
        yield from _on(plan, subject, batched, [measures.batching], tasks=("text-to-image",))
        for mode in _modes(plan):
            yield from _on(plan, subject, mode, [measures.determinism, measures.speed])
    yield from _speech(plan)


def _usual(plan: Plan) -> list[Measure]:
    usual: list[Measure] = [
        measures.determinism,
        measures.speed,
        measures.previews,
        measures.cancelling,
        measures.health,
    ]
    if plan.device == "cuda":
        usual.append(functools.partial(measures.memory_that_runs_out, python=plan.python))
    return usual


def _modes(plan: Plan) -> tuple[dict[str, str], ...]:
    """Without a GPU only what runs there: weights of eight bits."""
    return MODES if plan.device == "cuda" else ({"QUANT": "int8"},)


def _speech(plan: Plan) -> Iterator[Finding]:
    if plan.speech_python is None:
        yield Finding("Qwen3-TTS", "", "speech", "skipped", note="no environment for it: --speech-python")
        return
    kinds = TINY_SPEECH[:1] if plan.quick else TINY_SPEECH
    subjects = [_tiny(plan, plan.speech_python, kind, side=0, steps=0) for kind in kinds]
    real = [] if plan.quick else [Subject(name.rpartition("/")[2], name, 0, 0) for name in _cached(KNOWN_SPEECH)]
    speaking = dataclasses.replace(plan, python=plan.speech_python)
    for subject in [*subjects, *real]:
        # The tiny ones hardly ever end by themselves.
        yield from _on(speaking, subject, {"MAX_NEW_TOKENS": "40"} if subject in subjects else {}, [measures.speech])


def _on(
    plan: Plan,
    subject: Subject,
    settings: dict[str, str],
    wanted: list[Measure],
    tasks: tuple[str, ...] = (),
) -> Iterator[Finding]:
    """One worker with these settings, and what is found on it; what breaks is a finding and not the end."""
    shown = " ".join(f"{name}={value}" for name, value in settings.items())
    log = plan.folder / f"worker-{subject.label}-{shown.replace(' ', '-') or 'plain'}.log"
    environment = {"MODEL_NAME": subject.name, "DEVICE": plan.device, "MAX_PIXELS": str(2**24), **settings}
    if plan.device == "cpu":
        # A tiny operation on two threads waits longer for the second one than it computes.
        environment["TORCH_THREADS"] = "1"
    if Path(subject.name).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    try:
        with running(plan.python, log, environment, plan.start_seconds) as (worker, seconds):
            able: list[str] = worker.get("/models").content["capabilities"]
            bench = Bench(worker, subject, shown, able)
            if tasks and not set(tasks) & set(able):
                return
            yield bench.find("start", "measured", seconds, "s")
            for measure in wanted:
                yield from measure(bench)
    except (WorkerError, OSError, KeyError, TypeError) as error:
        yield Finding(subject.label, shown, "run", "failed", note=f"{type(error).__name__}: {error}")


def _tiny(plan: Plan, python: Path, kind: str, *, side: int, steps: int) -> Subject:
    folder = plan.folder / "tiny" / kind
    if not folder.exists():
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1"}
        command = [str(python), "-m", "pixvox_worker.tiny", kind, str(folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    return Subject(f"tiny {kind}", str(folder), side, steps)


def _real(name: str) -> Subject:
    return Subject(name.rstrip("/").rpartition("/")[2], name, side=1024, steps=20)


def _cached(names: tuple[str, ...]) -> list[str]:
    """Those whose weights lie in the cache of the hub."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return [
        name for name in names if list((home / "hub" / f"models--{name.replace('/', '--')}").glob("snapshots/*/*.json"))
    ]


def _write(folder: Path, machine: dict[str, object], findings: list[Finding]) -> None:
    content = {"machine": machine, "findings": [dataclasses.asdict(finding) for finding in findings]}
    (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    rows = [
        f"| {finding.model} | {finding.settings or '–'} | {finding.check} | {finding.verdict} | {_figure(finding)} |"
        for finding in findings
    ]
    ran_on = ", ".join(f"{name} {value}" for name, value in machine.items() if value)
    head = [
        "# The worker, measured",
        "",
        ran_on,
        "",
        "| model | settings | check | verdict | figure |",
        "|---|---|---|---|---|",
    ]
    (folder / "report.md").write_text("\n".join([*head, *rows]) + "\n")


def _figure(finding: Finding) -> str:
    value = "" if finding.value is None else f"{finding.value:g} {finding.unit}".strip()
    return ", ".join(part for part in (value, finding.note) if part)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
