"""What can be said of settings as values: where they come from, what identifies them, and how two of them differ.

Source       is read, and read again
digest       identifies what settings decide
differences  tells what changed, and whether it needs a restart
told         shows settings without their secrets
"""

from __future__ import annotations

from pixvox.configuration.differences import Difference, differences, kept
from pixvox.configuration.digests import digest
from pixvox.configuration.secrets import MASK
from pixvox.configuration.sources import Loaded, Source, contents
from pixvox.configuration.trees import told, without_defaults

__all__ = [
    "MASK",
    "Difference",
    "Loaded",
    "Source",
    "contents",
    "differences",
    "digest",
    "kept",
    "told",
    "without_defaults",
]
