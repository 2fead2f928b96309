"""How often each row of a source is used in a pass: by weight or by count, the same whenever it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adatta.core.errors import DataError
from adatta.core.settings import DataSettings


def draw_times(row_ids: Sequence[str], source: DataSettings, *, seed: int) -> NDArray[np.uint32]:
    """Say how often each row of a source is used in a pass.

    With `weight` 2.5 each row is used twice and half of them, rounded, once more; with 0.5 half of them are
    used; with `rows` just so many. Which ones is decided by seed and content, not by order: when rows are
    added, nearly all of those drawn before are drawn again.

    Args:
        row_ids: Ids of the source's rows.
        source: Its weight or number of rows.
        seed: The recipe's.

    Returns:
        A number a row, in order.

    Raises:
        DataError: More rows are asked for than there are, or the weight leaves none.
    """
    if source.rows is None:
        whole = int(source.weight)
        extra = round((source.weight - whole) * len(row_ids))
    else:
        whole, extra = 0, source.rows
    if extra > len(row_ids) or (row_ids and not whole and not extra):
        what = f"{extra} rows are to be drawn from {len(row_ids)}"
        raise DataError(what, where=source.path, hint="change rows or weight of this source")
    times = np.full(len(row_ids), whole, dtype=np.uint32)
    if extra:
        texts = (f"draw {seed} {row_id}".encode() for row_id in row_ids)
        marks = (int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in texts)
        order = np.argsort(np.fromiter(marks, np.uint64, len(row_ids)), kind="stable")
        times[order[:extra]] += 1
    return times
