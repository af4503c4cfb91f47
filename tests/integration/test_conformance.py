"""The conformance kit on real providers: ours keep their contract, and so does one that somebody else has written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

import third_party
from pixvox.testing.conformance import CHECKS, conformance_tests

if TYPE_CHECKING:
    from pathlib import Path

TestSandbox = conformance_tests("sandbox")
TestDashScope = conformance_tests("dashscope")
TestOpenAI = conformance_tests("openai")
# One of each other way in which the vendor is asked: at once and by tasks, with areas and lists of sizes, by events.
TestDashScopeModels = conformance_tests(
    "dashscope",
    models=["qwen-image-2.0", "wan2.2-t2i-plus", "wan2.6-image", "qwen3-tts-flash", "qwen3-tts-vd-2026-01-26"],
    leave_out=["table", "verbs", "errors", "close", "resources", "event-loop"],
)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return third_party.install(tmp_path_factory.mktemp("distributions"))


def ran(distributions: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A run of a module of Python that finds the distributions."""
    environment = os.environ | {"PYTHONPATH": str(distributions)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The folder of somebody else's tests, where pytest looks no further."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path


def test_an_installed_provider_is_found_by_its_entry_point_and_passes(distributions: Path) -> None:
    run = ran(distributions, "pixvox.cli", "conformance", "good", "--json")

    document = json.loads(run.stdout)
    assert run.returncode == 0, run.stderr
    assert [check["check"] for check in document["checks"]] == [check.name for check in CHECKS]
    results = {check["check"]: check["result"] for check in document["checks"]}
    assert set(results.values()) == {"PASS", "SKIP"}
    assert {name for name, result in results.items() if result == "SKIP"} == {
        *("warmth", "voice-design", "voice-clone", "voice-references"),
        *("errors-unreachable", "errors-broken-upstream", "errors-silent-upstream"),
    }


def test_a_bad_provider_fails_with_findings_that_can_be_read(distributions: Path) -> None:
    lies = '["max-size","swallows","leaks-task","key-error","odd-bytes","two-receipts","wrong-type"]'
    checks = ("image-sizes", "image-formats", "image-cancel", "speech-audio", "speech-order", "errors", "tasks")
    only = [word for check in checks for word in ("--only", check)]
    run = ran(distributions, "pixvox.cli", "conformance", "bad", "--set", f"lies={lies}", *only)

    assert run.returncode == 1
    sections = findings(run.stdout)
    assert sections["image-sizes"][0] == (
        "generate_image of painter: asked for 2048x2048 pixels, the largest that the table allows; "
        "the picture has 1024x1024"
    )
    assert (
        "generate_image of painter: went on to its end and gave its result although it was cancelled"
        in sections["image-cancel"]
    )
    assert "generate_image of painter: 3 calls left 3 tasks running: sleep (leaked)" in sections["tasks"]
    assert re.fullmatch(
        r"edit_image of painter: asked with an option that nobody knows, and "
        r"KeyError: 'style' \(at bad_pixvox/pictures\.py:\d+ in work\) came out",
        sections["errors-odd-requests"][2],
    )
    assert sections["speech-audio"][:2] == [
        "stream_speech of whistler: a piece of audio has 1599 bytes, which is half a sample too many",
        "contract: Audio is bare 16-bit signed little-endian mono samples, whole ones in each piece.",
    ]
    assert sections["speech-order"][:2] == [
        "stream_speech of whistler: 2 receipts came",
        "contract: The receipt comes exactly once, and last, when all the text was spoken.",
    ]
    assert "generate_image of painter: asked for IMAGE_FORMAT_JPEG; the file is image/png" in sections["image-formats"]


def test_a_bad_provider_cannot_keep_the_command_from_ending(distributions: Path) -> None:
    run = ran(
        distributions,
        *("pixvox.cli", "conformance", "bad", "--set", 'lies=["stubborn","clings"]', "--seconds", "1"),
        *("--only", "image-cancel"),
    )

    assert run.returncode == 1
    assert "had not ended 1 s after it was cancelled" in run.stdout
    assert "left behind: clinging" in run.stderr


def test_another_repository_has_a_test_for_each_check_with_nothing_but_pytest(
    distributions: Path, repository: Path
) -> None:
    (repository / "test_good.py").write_text(
        textwrap.dedent("""
        from pixvox.testing.conformance import conformance_tests

        TestGood = conformance_tests("good", {"seconds": 0.01}, leave_out=["speech-slow-reader"])
        TestBad = conformance_tests("bad", {"lies": ["odd-bytes"]}, only=["speech-audio"])
        """),
        encoding="utf-8",
    )
    run = ran(
        distributions, "pytest", "-v", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider", cwd=repository
    )

    assert run.returncode == 1
    assert f"1 failed, {len(CHECKS) - 8} passed, 7 skipped" in run.stdout
    assert "test_good.py::TestGood::test_image_sizes PASSED" in run.stdout
    assert "a piece of audio has 1599 bytes" in run.stdout


def test_the_fixtures_work_without_another_plugin(distributions: Path, repository: Path) -> None:
    (repository / "conftest.py").write_text('pytest_plugins = ["pixvox.testing.plugin"]\n', encoding="utf-8")
    (repository / "test_good.py").write_text(
        "def test_good(conformance):\n    conformance('good', only=('image', 'receipts'))\n", encoding="utf-8"
    )
    run = ran(distributions, "pytest", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider", cwd=repository)

    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout


def test_a_test_run_that_has_nothing_to_do_with_it_does_not_load_it(distributions: Path, repository: Path) -> None:
    (repository / "test_other.py").write_text(
        "import sys\n\ndef test_other():\n    assert not [name for name in sys.modules if name.startswith('pixvox')]\n",
        encoding="utf-8",
    )
    run = ran(distributions, "pytest", "-p", "no:cacheprovider", cwd=repository)

    assert run.returncode == 0, run.stdout


def findings(report: str) -> dict[str, list[str]]:
    """The lines of a report under each check that failed."""
    names = {check.name for check in CHECKS}
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in report.splitlines():
        if line.startswith("  "):
            current.append(line.strip())
        elif line.split("  ")[0] in names:
            current = sections.setdefault(line.split("  ")[0], [])
    return sections
