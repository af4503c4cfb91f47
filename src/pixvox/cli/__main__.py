"""Runs the command line as `python -m pixvox.cli`."""

from __future__ import annotations

from pixvox.cli import main

main(prog_name="pixvox")
