"""The rows of a stage as tokens, in a file without a name: four bytes a row stay in memory."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar, overload
from weakref import finalize

from adatta.core.errors import DataError
from adatta.core.records import TokenRow
from adatta.core.runtime import cache_dir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.uint32] | range

T = TypeVar("T")
Group = tuple[TokenRow, ...]

_HEAD = struct.Struct("<8sQ4I2?I")  # the fields of Head, number of token rows
_ROW = struct.Struct("<i2I")  # branch, number of ids, bytes of the packed weights
_BLOCK = 64  # records begin at its multiples, so that four bytes reach 256 GiB


class Head(NamedTuple):
    """What is known of a row without its tokens.

    `place` is its place in the order in which rows are held out; `scored_bytes` are the UTF-8 bytes of its
    scored text; tokens are counted over its branches, `longest` is that of the longest one.
    """

    row_id: str
    place: int
    scored_bytes: int
    tokens: int
    scored_tokens: int
    longest: int
    is_straddled: bool
    is_split: bool


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do where the file can't be written.

    Raises:
        DataError: naming the folder.
    """
    try:
        yield
    except OSError as error:
        what = f"the rows' tokens can't be kept in {cache_dir()} ({error.strerror})"
        raise DataError(f"{what}; make room there, or set ADATTA_CACHE to another folder") from error


class TokenStore:
    """Takes rows as tokens and gives them back by number, equal to what came.

    They lie in the cache's folder, in a file that is gone when the store is: about 4 bytes a token. Ids are
    written as they are (32 bits), weights (64 bits, mostly runs of 0 and 1) packed by zlib.
    """

    def __init__(self) -> None:
        """Start with no row."""
        with _explained():
            cache_dir().mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=cache_dir(), buffering=0)  # noqa: SIM115
        self._ends = array("I", [0])  # in blocks; a row begins where the one before ends
        finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(
        self, group: Group, *, place: int, scored_bytes: int, is_straddled: bool, is_split: bool
    ) -> None:
        """Add a row: its branches, which have its id, and what `Head` says of it."""
        lengths = [len(row.ids) for row in group]
        scored = sum(weight > 0 for row in group for weight in row.weights)
        figures = (place, scored_bytes, sum(lengths), scored, max(lengths), is_straddled, is_split)
        parts = [_HEAD.pack(bytes.fromhex(group[0].row_id), *figures, len(group))]
        for row in group:
            packed = zlib.compress(array("d", row.weights).tobytes(), 1)
            parts += [_ROW.pack(row.branch, len(row.ids), len(packed)), array("i", row.ids).tobytes(), packed]
        record, at = b"".join(parts), self._ends[-1] * _BLOCK
        self._ends.append(self._ends[-1] - (-len(record) // _BLOCK))
        with _explained():
            while record:  # a disk that gets full takes a part, then says so
                num_bytes = os.pwrite(self._file.fileno(), record, at)
                record, at = record[num_bytes:], at + num_bytes

    def head(self, number: int) -> Head:
        """Return what is known of a row without its tokens."""
        row_id, *figures, _ = _HEAD.unpack(self._read(number, _HEAD.size))
        return Head(row_id.hex(), *figures)

    def row_id(self, number: int) -> str:
        """Return a row's id."""
        return self.head(number).row_id

    def place(self, number: int) -> int:
        """Return a row's place in the order in which rows are held out."""
        return self.head(number).place

    def group(self, number: int) -> Group:
        """Return the branches of a row."""
        record = self._read(number, (self._ends[number + 1] - self._ends[number]) * _BLOCK)
        return tuple(_unpack(record))

    def _read(self, number: int, num_bytes: int) -> bytes:
        return os.pread(self._file.fileno(), num_bytes, self._ends[number] * _BLOCK)


def _unpack(record: bytes) -> Iterator[TokenRow]:
    row_id, *_, num_rows = _HEAD.unpack_from(record)
    at = _HEAD.size
    for _ in range(num_rows):
        branch, num_ids, num_packed = _ROW.unpack_from(record, at)
        start = at + _ROW.size
        end = start + 4 * num_ids
        at = end + num_packed
        ids, weights = array("i", record[start:end]), array("d", zlib.decompress(record[end:at]))
        yield TokenRow(ids=tuple(ids), weights=tuple(weights), row_id=row_id.hex(), branch=branch)


class Picked(Sequence[T]):
    """What is read for each of some numbers, one by one as it is asked for; nothing of it is kept."""

    def __init__(self, read: Callable[[int], T], numbers: Numbers) -> None:
        """Choose what to read.

        Args:
            read: gives what has a number.
            numbers: in order; may repeat.
        """
        self._read, self._numbers = read, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Picked[T]: ...
    def __getitem__(self, index: int | slice) -> T | Picked[T]:
        if isinstance(index, slice):
            return Picked(self._read, self._numbers[index])
        return self._read(int(self._numbers[index]))
