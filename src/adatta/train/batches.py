"""Rows of a step as forests of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adatta.core.records import TokenRow
from adatta.model.forest import Forest, build_forest, pack, pack_sizes

Group = Sequence[TokenRow]  # the token rows of one row: two answers of a preference, windows of a document


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One forest and its groups; `places` says where these stand among all that were packed."""

    forest: Forest
    groups: tuple[Group, ...]
    places: tuple[int, ...]

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """The token rows in the order in which `forest.row_S` counts them."""
        return tuple(row for group in self.groups for row in group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How rows become forests: tokens computed at once, and whether equal prefixes are computed once."""

    forest_tokens: int
    share_prefix: bool

    def batches(self, groups: Sequence[Group]) -> list[Batch]:
        """Return the forests of groups; a group is never divided."""
        batches = []
        for indices in pack(groups, self.forest_tokens, share_prefix=self.share_prefix):
            chosen = tuple(groups[index] for index in indices)
            rows = [row for group in chosen for row in group]
            forest = build_forest(rows, share_prefix=self.share_prefix)
            batches.append(Batch(forest=forest, groups=chosen, places=tuple(indices)))
        return batches


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
