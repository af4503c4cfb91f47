"""One module per proto service: the table of contents of a call, and nothing else."""

from __future__ import annotations
