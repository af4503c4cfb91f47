"""Calls that are made more than once: each with a request id is made once, identical ones are shared where they may be."""

from __future__ import annotations

from pixvox.idempotency.calls import Idempotency

__all__ = ["Idempotency"]
