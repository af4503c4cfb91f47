"""Whose turn it is when calls wait: fair between callers, in the order of arrival within one."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

# A call without cost would always be the next, one with an infinite cost never.
_LEAST_COST = 1e-3
_MOST_COST = 1e6
# Stale ranks are cheaper to keep than to remove, up to here.
_FEW = 16


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """Something that waits."""

    caller: str
    item: T
    cost: float


class FairQueue(Generic[T]):
    """Gives the callers that wait equal shares of what is served, measured in cost.

    It is round robin by deficit with a quantum that goes to zero: each caller who waits earns credit at the same speed,
    and the first whose credit covers the cost of its next call is served; of two at once the one who was not served yet. So
    of calls of one cost, a caller with a thousand of them delays another by none. Who leaves takes no credit along. The
    literature knows it as self-clocked fair queueing (S. J. Golestani, "A self-clocked fair queueing scheme for broadband
    applications", INFOCOM 1994).
    """

    def __init__(self) -> None:
        """Start empty."""
        self._lines: dict[str, _Line[T]] = {}
        # When a caller has earned its next call, whether it was served before, and a number that tells ranks apart.
        self._ranks: list[tuple[float, bool, int, _Line[T]]] = []
        self._numbers = itertools.count()
        self._length = 0
        # What a caller would have earned who had always waited.
        self._credit = 0.0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._length

    def __iter__(self) -> Iterator[Entry[T]]:
        """Return all that wait, by caller; the queue must not change meanwhile."""
        return itertools.chain.from_iterable(line.entries for line in self._lines.values())

    def push(self, caller: str, item: T, cost: float = 1.0) -> Entry[T]:
        """Have something wait behind what the same caller has waiting, and return its entry."""
        entry = Entry(caller, item, _clamped(cost))
        line = self._lines.setdefault(caller, _Line(self._credit))
        line.entries[entry] = None
        line.cost += entry.cost
        self._length += 1
        if len(line.entries) == 1:
            self._rank(line)
        return entry

    def pop(self) -> Entry[T] | None:
        """Take out whose turn it is; None if nothing waits."""
        while self._ranks:
            credit, _, number, line = heapq.heappop(self._ranks)
            if line.rank != number:
                continue
            self._credit = max(self._credit, credit)
            line.begin, line.served = credit, True
            entry = next(iter(line.entries))
            self.remove(entry)
            return entry
        return None

    def remove(self, entry: Entry[T]) -> None:
        """Take something out, wherever it waits; it may be out already."""
        line = self._lines.get(entry.caller)
        if line is None or entry not in line.entries:
            return
        first = next(iter(line.entries)) is entry
        del line.entries[entry]
        line.cost -= entry.cost
        self._length -= 1
        if not line.entries:
            line.rank = -1
            del self._lines[entry.caller]
        elif first:
            self._rank(line)
        self._tidy()

    def ahead(self, caller: str, cost: float = 1.0) -> int:
        """Return how many would be served before a call that comes now, about, if none came after it."""
        own = self._lines.get(caller)
        begin, before, count = (own.begin, own.cost, len(own.entries)) if own else (self._credit, 0.0, 0)
        turn = begin + before + _clamped(cost)
        for line in self._lines.values():
            if line is not own:
                length = len(line.entries)
                earned = (turn - line.begin) * length / max(line.cost, _LEAST_COST)
                # Who comes new goes before those who were served and have earned as much.
                count += min(length, max(0, math.ceil(earned) - 1) if line.served and not own else int(earned))
        return count

    def crowding(self, caller: str) -> Entry[T] | None:
        """Return what should make room for a call of `caller` in a full queue, None if nothing should.

        It is the newest entry of the caller who has most waiting, if that is more than `caller` would then have.
        """
        own = self._lines.get(caller)
        longest = max(self._lines.values(), key=lambda line: len(line.entries), default=None)
        if longest is None or len(longest.entries) <= (len(own.entries) if own else 0) + 1:
            return None
        return next(reversed(longest.entries))

    def _rank(self, line: _Line[T]) -> None:
        line.rank = next(self._numbers)
        heapq.heappush(self._ranks, (line.begin + next(iter(line.entries)).cost, line.served, line.rank, line))

    def _tidy(self) -> None:
        if not self._lines:
            self._ranks.clear()
        elif len(self._ranks) > 2 * len(self._lines) + _FEW:
            self._ranks = [rank for rank in self._ranks if rank[3].rank == rank[2]]
            heapq.heapify(self._ranks)


class _Line(Generic[T]):
    """What waits of one caller."""

    __slots__ = ("begin", "cost", "entries", "rank", "served")

    def __init__(self, begin: float) -> None:
        self.entries: OrderedDict[Entry[T], None] = OrderedDict()
        self.cost = 0.0
        # The credit of everybody when this caller began to earn for its first entry.
        self.begin = begin
        self.served = False
        # The number of its only valid rank.
        self.rank = -1


def _clamped(cost: float) -> float:
    return min(max(cost, _LEAST_COST), _MOST_COST)
