"""Rows of a step as forests of bounded size."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from adatta.core.records import TokenRow
from adatta.model.forest import Forest, build_forest, pack, pack_sizes

Group = Sequence[TokenRow]  # the token rows of one row: two answers of a preference, windows of a document


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One forest and its token rows, in the order in which `forest.row_S` counts them.

    `places` says where their groups stand among all that were packed.
    """

    forest: Forest
    rows: Sequence[TokenRow]
    places: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How rows become forests: tokens computed at once, and whether equal prefixes are computed once."""

    forest_tokens: int
    share_prefix: bool

    def batches(self, groups: Sequence[Group]) -> Iterator[Batch]:
        """Yield the forests of groups, each built when its turn comes; a group is never divided."""
        for indices in pack(groups, self.forest_tokens, share_prefix=self.share_prefix):
            rows = [row for index in indices for row in groups[index]]
            forest = build_forest(rows, share_prefix=self.share_prefix)
            yield Batch(forest=forest, rows=rows, places=indices)


class Branches(Sequence[Group]):
    """Each token row of some groups as a group of its own; nothing of them is kept."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._ends = array("q", accumulate(map(len, groups)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Group]:
        return ((row,) for group in self._groups for row in group)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        number = bisect_right(self._ends, place)
        return (self._groups[number][place - self._ends[number]],)  # counted from the group's end


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """In which order a stage trains on rows.

    `rows` are the groups that steps count, `tokens` what each of them takes; `steps` has the indices of the
    rows of each optimizer step, `packing` says how they become forests.
    """

    rows: Sequence[Group]
    tokens: Sequence[int]
    steps: Sequence[Sequence[int]]
    packing: Packing

    def largest(self) -> list[int]:
        """Return the rows of the largest forest of all steps, known by their tokens: no row is read."""
        limit = self.packing.forest_tokens
        forests = (
            [step[place] for place in places]
            for step in self.steps
            for places in pack_sizes([self.tokens[index] for index in step], limit)
        )
        return max(forests, key=lambda indices: sum(self.tokens[index] for index in indices))
