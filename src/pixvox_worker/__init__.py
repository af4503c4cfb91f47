"""The worker that loads generative models on this machine and serves them over HTTP; it knows nothing of pixvox."""

from __future__ import annotations

__version__ = "0.1.0"
