"""`make gpu-check` on a machine without a GPU: it says so, and its logic runs on tiny models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"


def check(*arguments):
    """Run the script."""
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], check=False, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path):
    answer = check("--out", str(tmp_path / "report"))
    assert (answer.returncode, answer.stdout.count("\n"), answer.stderr) == (3, 1, "")
    assert "no CUDA GPU" in answer.stdout
    assert not (tmp_path / "report").exists()


@pytest.mark.timeout(600)
def test_its_logic_runs_on_tiny_models(tmp_path):
    answer = check(
        "--device", "cpu", "--quick", "--out", str(tmp_path), "--python", sys.executable, "--speech-python", "/x"
    )
    assert answer.stderr == ""
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["machine"]["device"] == "cpu"
    findings = {(found["model"], found["settings"], found["check"]): found for found in report["findings"]}
    plain = {check for model, settings, check in findings if (model, settings) == ("tiny qwen-image-edit", "")}
    assert plain == {"start", "determinism", "picture", "step", "previews", "cancel", "/health p99 while it works"}
    batches = {check for _, settings, check in findings if "MAX_BATCH_SIZE" in settings}
    assert batches == {"start", "batch of 1", "batch of 2", "batch of 4"}
    assert findings["tiny qwen-image", "QUANT=int8", "determinism"]["verdict"] == "ok"
    assert findings["Qwen3-TTS", "", "speech"]["verdict"] == "skipped"
    # What depends on how busy the machine is does not count here.
    timed = ("cancel", "/health p99 while it works")
    assert {found["verdict"] for key, found in findings.items() if key[2] not in timed} == {"ok", "measured", "skipped"}
    assert all(found["value"] > 0 for found in findings.values() if found["verdict"] == "measured")
    table = (tmp_path / "report.md").read_text().splitlines()
    assert len([line for line in table if line.startswith("| tiny")]) == len(findings) - 1


def test_a_worker_that_does_not_start_is_a_failure_with_its_reason(tmp_path):
    broken = tmp_path / "python"
    broken.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        'pixvox_worker) echo "no such library"; exit 1;;\n'
        'pixvox_worker.tiny) mkdir -p "$4";;\n'
        """*) echo '{"gpu": null, "torch": "0"}';;\n"""
        "esac\n"
    )
    broken.chmod(0o755)
    answer = check(
        "--device", "cpu", "--quick", "--out", str(tmp_path), "--python", str(broken), "--speech-python", "/x"
    )
    assert answer.returncode == 1
    report = json.loads((tmp_path / "report.json").read_text())
    failed = [found for found in report["findings"] if found["verdict"] == "failed"]
    assert failed
    assert all("no such library" in found["note"] for found in failed)
