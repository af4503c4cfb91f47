"""Writes one tiny model to a folder: `python -m pixvox_worker.tiny qwen-image-edit FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pixvox_worker.tiny import KINDS, build


def main() -> None:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(prog="python -m pixvox_worker.tiny", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    build(arguments.kind, arguments.folder)


if __name__ == "__main__":
    main()
