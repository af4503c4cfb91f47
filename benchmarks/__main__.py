"""Run every benchmark: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import calls, startup, telemetry, worker

if __name__ == "__main__":
    startup.main()
    calls.main()
    telemetry.main()
    worker.main()
