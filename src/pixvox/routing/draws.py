"""The draw of one among targets with weights: anew for each call, or for good by what is drawn for."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# So many bits of a hash that one half more of the last of them is exact in a float below 1.
_BITS = 52


def drawn(weights: Sequence[float], draw: Callable[[], float] = random.random) -> int:
    """Return the place of one of the weights, each as likely as its share.

    Args:
        weights: At least one, each more than 0.
        draw: Gives a number from 0 to below 1.
    """
    sums = list(itertools.accumulate(weights))
    point = draw() * sums[-1]
    return next((place for place, upto in enumerate(sums) if point < upto), len(sums) - 1)


def stuck(weights: Mapping[str, float], key: str) -> str:
    """Return one of the names, always the same for the same key; over many keys each gets its share.

    When one weight is raised, keys move to its name alone; when one is lowered, keys move away from its name alone. This is
    rendezvous hashing with weights. Source: https://datatracker.ietf.org/doc/draft-ietf-bess-weighted-hrw/

    Args:
        weights: At least one, each more than 0, by name.
        key: What is drawn for.
    """
    return max(weights, key=lambda name: -weights[name] / math.log(_fraction(name, key)))


def _fraction(name: str, key: str) -> float:
    """Return a number between 0 and 1, neither of them included, which is the same in every process."""
    digest = hashlib.blake2b(f"{name}\0{key}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> (64 - _BITS)) + 0.5) / (1 << _BITS)
