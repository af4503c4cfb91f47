"""Show what pixvox does: start it, make a picture, edit it, speak a sentence, show the trace, stop.

Run by `make demo`. Everything it makes is left in the folder `demo-output`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTPUT = Path("demo-output")
PROMPT = "A lighthouse at dusk, seen from the harbour"
SENTENCE = "The first sentence is heard already. Meanwhile the second one is still being written."
START_SECONDS = 30

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo and return the exit code."""
    OUTPUT.mkdir(exist_ok=True)
    for old in OUTPUT.iterdir():
        old.unlink()
    spans = OUTPUT / "spans.jsonl"
    with served(spans) as target:
        picture, edited, sound = OUTPUT / "picture.png", OUTPUT / "edited.png", OUTPUT / "speech.wav"
        step("Make a picture from a prompt")
        pixvox("image", "generate", PROMPT, "-o", str(picture), "--size", "1024x768", "--seed", "7", target=target)
        step("Edit that picture by an instruction")
        instruction = 'sepia, add text "The harbour" at the top, and a 12 pixel white border'
        pixvox("image", "edit", str(picture), instruction, "-o", str(edited), target=target)
        step("Speak a text word by word, as a language model would hand it out")
        pixvox("speak", "-", "-o", str(sound), "--language", "en", target=target, typed=SENTENCE)
        step("Ask who could do what")
        pixvox("models", target=target)
    step("What happened inside, from the service's own trace")
    pixvox("trace", str(spans), "--last", "4")
    step("Yours to look at and listen to")
    for path in (picture, edited, sound):
        console.print(f"  {path}  ({path.stat().st_size:,} bytes)")
    console.print("\nNext: [bold]make run[/] keeps the service running; README.md has the grpcurl and buf curl lines.")
    return 0


@contextlib.contextmanager
def served(spans: Path) -> Iterator[str]:
    """Run the service on free ports for the block and give its address."""
    step("Start the service on its embedded default")
    log = OUTPUT / "service.log"
    started = time.monotonic()
    database = {"PIXVOX_DATABASE_URL": f"sqlite+aiosqlite:///{OUTPUT}/voices.db"}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pixvox.cli", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stderr=file,
            env={**os.environ, "PIXVOX_SPAN_FILE": str(spans), "PIXVOX_LOG_FORMAT": "json", **database},
        )
    try:
        serving = wait_for(process, log)
        seconds = time.monotonic() - started
        console.print(f"  gRPC on {serving['listen']}, health and metrics on {serving['http']}, after {seconds:.1f} s")
        yield str(serving["listen"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        console.print(f"\n  The service drained and ended with exit code {process.returncode}; its log is {log}.")


def wait_for(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """Return the log entry that tells the addresses."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry: dict[str, Any] = json.loads(line)
                if entry.get("event") == "serving":
                    return entry
        time.sleep(0.02)
    raise SystemExit(f"The service did not start:\n{log.read_text()}")


def pixvox(*arguments: str, target: str = "", typed: str = "") -> None:
    """Run one command of the command line, as a user would, with a text typed into it word by word."""
    shown = " ".join(f'"{one}"' if " " in one else one for one in arguments)
    console.print(f"  [dim]$ pixvox {shown}[/]", markup=True)
    command = [sys.executable, "-m", "pixvox.cli", *arguments, *(["--target", target] if target else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE if typed else None) as process:
        if process.stdin is not None:
            for word in typed.split():
                process.stdin.write(f"{word} ".encode())
                process.stdin.flush()
                time.sleep(0.1)
            process.stdin.close()
    if process.returncode:
        raise SystemExit(f"That failed with exit code {process.returncode}.")


def step(title: str) -> None:
    """Announce the next part."""
    console.print(f"\n[bold cyan]▸ {title}[/]")


if __name__ == "__main__":
    sys.exit(main())
