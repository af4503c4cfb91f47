"""One typed gRPC contract in front of many generative-media backends."""

from __future__ import annotations

__version__ = "0.1.0"
