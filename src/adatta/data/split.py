"""Hold rows out of training, by the hash of their content."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Grouped(Protocol):
    """What can be held out: a row, or what became of it."""

    @property
    def row_id(self) -> str:
        """Its id by content."""

    @property
    def group(self) -> str | None:
        """What it must stay together with."""


R = TypeVar("R", bound=Grouped)

MIN_ROWS_TO_SPLIT = 20
_LARGEST_PART = 5  # at most one row in five is held out


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Generic[R]):
    """Rows to train on and rows held out, both in their old order, and what the user should know."""

    train: tuple[R, ...]
    holdout: tuple[R, ...]
    warnings: tuple[str, ...]


def split_holdout(rows: Sequence[R], share: float, min_rows: int) -> Split[R]:
    """Hold out a share of the rows.

    Which rows these are depends on their contents only, not on their order. Rows of one `group`, and equal
    rows, stay on one side. At most a fifth is held out, and nothing of fewer than twenty rows.

    Args:
        rows: All rows.
        share: Share to hold out, from 0 to 1; 0 holds out none.
        min_rows: Smallest number to hold out.

    Returns:
        The two parts.
    """
    if share == 0:
        return Split(train=tuple(rows), holdout=(), warnings=())
    if len(rows) < MIN_ROWS_TO_SPLIT:
        warning = f"no holdout: {len(rows)} rows, {MIN_ROWS_TO_SPLIT} are needed to hold some out"
        return Split(train=tuple(rows), holdout=(), warnings=(warning,))
    largest = len(rows) // _LARGEST_PART
    wanted = min(max(round(share * len(rows)), min_rows, 1), largest)
    sizes = Counter(map(_unit, rows))
    held: set[str] = set()
    count = 0
    for unit in sorted(sizes, key=_place):
        if count < wanted and count + sizes[unit] <= largest:
            held.add(unit)
            count += sizes[unit]
    warning = f"{count} rows held out instead of {wanted}: groups are too large to hold out more of them"
    return Split(
        train=tuple(row for row in rows if _unit(row) not in held),
        holdout=tuple(row for row in rows if _unit(row) in held),
        warnings=(warning,) if count < wanted else (),
    )


def _unit(row: Grouped) -> str:
    """Name what stays together: the group, or the rows of one content."""
    return f"row {row.row_id}" if row.group is None else f"group {row.group}"


def _place(unit: str) -> str:
    return hashlib.sha256(f"holdout {unit}".encode()).hexdigest()
