"""Builds pipelines of random weights, about a megabyte each, for tests and for trying a deployment without a GPU."""

from __future__ import annotations

from pixvox_worker.tiny.pipelines import KINDS, build

__all__ = ["KINDS", "build"]
