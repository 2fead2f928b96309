"""Find rows whose content was there before, and where, in 18 to 24 bytes a row."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from adatta.core.records import Row

_FIRST_SLOTS = 1 << 12


class SeenRows:
    """Numbers rows from 0 and finds those whose content was there before.

    Keeps 8 bytes a row of its id, 4 of its line, and a table of 4-byte slots, a third to two thirds of them
    taken (6 to 12 bytes a row). Two different rows are taken for one with a probability of 2**-64 a pair.
    """

    def __init__(self) -> None:
        self._ids = array("Q")
        self._lines = array("I")
        self._slots = array("I", [0]) * _FIRST_SLOTS  # a row's number + 1; 0 for none
        self._paths: list[str] = []
        self._first_numbers: list[int] = []

    def find(self, row: Row) -> str | None:
        """Return the place (`file:line`) of an earlier row with this content; remember a new one.

        Args:
            row: The row; its id is its content's hash.
        """
        row_id = int(row.row_id, 16)
        slot = self._find_slot(row_id)
        if self._slots[slot]:
            return self.place(self._slots[slot] - 1)
        if not self._paths or self._paths[-1] != row.origin.path:
            self._paths.append(row.origin.path)
            self._first_numbers.append(len(self._ids))
        self._ids.append(row_id)
        self._lines.append(row.origin.line)
        self._slots[slot] = len(self._ids)
        if 3 * len(self._ids) > 2 * len(self._slots):
            self._slots = array("I", [0]) * (2 * len(self._slots))
            for number, known in enumerate(self._ids, start=1):
                self._slots[self._find_slot(known)] = number
        return None

    def place(self, number: int) -> str:
        """Return where the row with a number stands, as `file:line`."""
        return f"{self._paths[bisect_right(self._first_numbers, number) - 1]}:{self._lines[number]}"

    def _find_slot(self, row_id: int) -> int:
        """Return the slot of an id, or the free one where it belongs."""
        last = len(self._slots) - 1
        slot = row_id & last
        while (taken := self._slots[slot]) and self._ids[taken - 1] != row_id:
            slot = (slot + 1) & last
        return slot
