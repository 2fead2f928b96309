"""Hold rows out of training, by the hash of their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_ROWS_TO_SPLIT = 20
LARGEST_PART = 5  # at most one row in five is held out


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Whether each row is held out, and what the user should know."""

    is_held: NDArray[np.bool_]
    warnings: tuple[str, ...]


def place_row(row_id: str, group: str | None) -> int:
    """Return a row's place, of 64 bits, in the order in which rows are held out.

    What must stay together has one place: the rows of a group, and rows of one content without a group.

    Args:
        row_id: Its id by content.
        group: What it must stay together with.
    """
    unit = f"row {row_id}" if group is None else f"group {group}"
    return int.from_bytes(hashlib.sha256(f"holdout {unit}".encode()).digest()[:8], "big")


def split_holdout(places: NDArray[np.uint64], share: float, min_rows: int) -> Split:
    """Hold out a share of the rows.

    Which rows these are depends on their contents only, not on their order. At most a fifth is held out, and
    nothing of fewer than twenty rows.

    Args:
        places: Place of each row; rows of one place stay on one side.
        share: Share to hold out, from 0 to 1; 0 holds out none.
        min_rows: Smallest number to hold out.

    Returns:
        Which are held out.
    """
    num = len(places)
    none = np.zeros(num, dtype=np.bool_)
    if share == 0:
        return Split(is_held=none, warnings=())
    if num < MIN_ROWS_TO_SPLIT:
        warning = f"no holdout: {num} rows, {MIN_ROWS_TO_SPLIT} are needed to hold some out"
        return Split(is_held=none, warnings=(warning,))
    largest = num // LARGEST_PART
    asked = max(round(share * num), min_rows, 1)
    wanted = min(asked, largest)
    held: set[np.uint64] = set()
    count = 0
    for place, size in zip(*np.unique(places, return_counts=True), strict=True):
        if count + size <= largest:
            held.add(place)
            count += size
        if count >= wanted:
            break
    why = "groups are too large to hold out more of them" if count < wanted else "at most a fifth can be"
    warnings = (f"{count} rows held out instead of {asked}: {why}",) if count < asked else ()
    return Split(is_held=np.fromiter(map(held.__contains__, places), np.bool_, num), warnings=warnings)
