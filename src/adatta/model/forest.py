"""The batch of every heavy computation: token rows that may share prefixes, packed without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from adatta.core.errors import DataError
from adatta.core.records import TokenRow, shared_length

# T tokens of the forest, S scored tokens (a token on a prefix of k rows stands k times)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest:
    """Rows as paths of one packed sequence, each tree in preorder.

    `ids_T` token ids; `position_T` depth on the path; `parent_T` index of the token before it on its path,
    -1 at a root; `scored_S` indices of the scored tokens, by row and then by depth; `row_S` the row each
    stands for; `weight_S` that row's loss weight (float64).
    """

    ids_T: Tensor
    position_T: Tensor
    parent_T: Tensor
    scored_S: Tensor
    row_S: Tensor
    weight_S: Tensor

    @property
    def num_tokens(self) -> int:
        """Tokens of the forest; those through which nothing scored is read need not be computed."""
        return len(self.ids_T)

    def to(self, device: torch.device | str) -> Forest:
        """Return the forest with its tensors on `device`."""
        return Forest(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def build_forest(rows: Sequence[TokenRow], *, share_prefix: bool = True) -> Forest:
    """Pack rows; with `share_prefix`, tokens of equal id paths from the start are one.

    Rows are laid out in the order of their ids, so that each shares with the one before it all that it
    shares with any row before: every subtree is contiguous and a parent stands before its children.

    Args:
        rows: the branches; `row_S` counts them in this order.
        share_prefix: whether equal prefixes are computed once.

    Raises:
        DataError: if there is no row, an empty one, or one whose weights don't fit its ids.
    """
    _refuse_misfits(rows)
    order = sorted(range(len(rows)), key=lambda index: rows[index].ids) if share_prefix else range(len(rows))
    ids: list[int] = []
    positions: list[int] = []
    parents: list[int] = []
    paths: dict[int, list[int]] = {}
    before: tuple[int, ...] = ()
    path: list[int] = []
    for index in order:
        row_ids = rows[index].ids
        path = path[: shared_length(before, row_ids)] if share_prefix else []
        for depth in range(len(path), len(row_ids)):
            parents.append(path[-1] if path else -1)
            path.append(len(ids))
            ids.append(row_ids[depth])
            positions.append(depth)
        paths[index] = path
        before = row_ids
    scored = [
        (paths[index][depth], index, weight)
        for index, row in enumerate(rows)
        for depth, weight in enumerate(row.weights)
        if depth > 0 and weight != 0
    ]
    return Forest(
        ids_T=torch.tensor(ids),
        position_T=torch.tensor(positions),
        parent_T=torch.tensor(parents),
        scored_S=torch.tensor([token for token, _, _ in scored], dtype=torch.long),
        row_S=torch.tensor([row for _, row, _ in scored], dtype=torch.long),
        weight_S=torch.tensor([weight for _, _, weight in scored], dtype=torch.float64),
    )


def count_tokens(rows: Sequence[TokenRow], *, share_prefix: bool = True) -> int:
    """Return how many tokens the forest of `rows` has, without building it."""
    if not share_prefix:
        return sum(len(row.ids) for row in rows)
    ids = sorted(row.ids for row in rows)
    total = sum(len(row) for row in ids)
    return total - sum(shared_length(left, right) for left, right in pairwise(ids))


def drop_unread(forest: Forest) -> tuple[Forest, Tensor]:
    """Leave out tokens through which nothing scored is read: a row's last, and all behind its scored ones.

    Args:
        forest: the rows.

    Returns:
        The forest to be computed, in which nothing is scored, and its tokens' indices in the given one [T].
    """
    read_T = torch.zeros_like(forest.parent_T)
    read_T[forest.parent_T[forest.scored_S]] = 1
    before_T = functional.pad(read_T.cumsum(0), (1, 0))
    kept_T = (before_T[subtree_ends(forest.parent_T)] > before_T[:-1]).nonzero()[:, 0]
    parent_T = forest.parent_T[kept_T]
    kept = Forest(
        ids_T=forest.ids_T[kept_T],
        position_T=forest.position_T[kept_T],
        parent_T=torch.where(parent_T < 0, -1, torch.searchsorted(kept_T, parent_T)),
        scored_S=forest.scored_S[:0],
        row_S=forest.row_S[:0],
        weight_S=forest.weight_S[:0],
    )
    return kept, kept_T


def subtree_ends(parent_T: Tensor) -> Tensor:
    """Return the index behind the last token that has each token on its path.

    Args:
        parent_T: parents [T], each before its children, every subtree contiguous.

    Returns:
        Indices [T].
    """
    end = list(range(1, len(parent_T) + 1))
    for child, parent in reversed(list(enumerate(parent_T.tolist()))):
        if parent >= 0:
            end[parent] = max(end[parent], end[child])
    return torch.tensor(end, device=parent_T.device)


def pack(
    groups: Sequence[Sequence[TokenRow]], forest_tokens: int, *, share_prefix: bool = True
) -> list[list[int]]:
    """Divide groups into forests of at most `forest_tokens` tokens; a longer group gets its own.

    Longest first, each into the fullest forest that has room (best fit decreasing), counting what a group
    needs alone: prefixes shared between groups only make a forest smaller. A group is never divided.

    Args:
        groups: rows that must stay together (the two answers of a preference).
        forest_tokens: the largest forest, in tokens.
        share_prefix: as it will be given to `build_forest`.

    Returns:
        The indices of the groups of each forest; in a forest and among forests in the order given.
    """
    return pack_sizes([count_tokens(group, share_prefix=share_prefix) for group in groups], forest_tokens)


def pack_sizes(sizes: Sequence[int], forest_tokens: int) -> list[list[int]]:
    """Divide groups of known sizes into forests, as `pack` does.

    Args:
        sizes: tokens of each group alone.
        forest_tokens: the largest forest, in tokens.

    Returns:
        The indices of the groups of each forest.
    """
    forests: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        fits = [number for number, free in enumerate(room) if free >= sizes[index]]
        if fits:
            chosen = min(fits, key=lambda number: room[number])
            forests[chosen].append(index)
            room[chosen] -= sizes[index]
        else:
            forests.append([index])
            room.append(forest_tokens - sizes[index])
    return sorted(sorted(forest) for forest in forests)


def pack_rows(rows: Sequence[TokenRow], forest_tokens: int) -> list[list[int]]:
    """Divide rows that may part into forests: sorted by their ids, so that what many begin with is met once.

    A few-shot prompt is computed once a forest, not once a question. A longer row gets its own forest.

    Args:
        rows: in any order.
        forest_tokens: the largest forest, in tokens, of which a shared prefix counts once.

    Returns:
        The indices of the rows of each forest.
    """
    forests: list[list[int]] = []
    room, before = 0, tuple[int, ...]()
    for index in sorted(range(len(rows)), key=lambda index: rows[index].ids):
        ids = rows[index].ids
        new = len(ids) - shared_length(before, ids)
        if not forests or new > room:
            forests.append([])
            room, new = forest_tokens, len(ids)
        forests[-1].append(index)
        room, before = room - new, ids
    return forests


def _refuse_misfits(rows: Sequence[TokenRow]) -> None:
    if not rows:
        raise DataError("a forest was asked for without rows; give at least one row")
    for row in rows:
        if not row.ids or len(row.ids) != len(row.weights):
            raise DataError(
                f"row {row.row_id} has {len(row.ids)} ids and {len(row.weights)} weights; "
                "a row has at least one id and as many weights"
            )
