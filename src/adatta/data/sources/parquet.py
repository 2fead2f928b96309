"""Parquet files; a null is a field that isn't there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from adatta.data.source import Numbered, Opened, Source, drop_nulls, sift

_BATCH_ROWS = 1000
_BUFFER_BYTES = 2**20


def _read(opened: Opened) -> Iterator[Numbered]:
    if opened.path.suffix.lower() == ".parquet":
        yield from sift(_rows(opened.file, opened), path=opened.path, problems=opened)
        return
    with tempfile.TemporaryFile() as file:  # a packed one can't be read from its end, where its table stands
        shutil.copyfileobj(opened.file, file)
        yield from sift(_rows(file, opened), path=opened.path, problems=opened)


def _rows(file: BinaryIO, opened: Opened) -> Iterator[Numbered]:
    number, place, missing = 0, "the table at its end", None
    try:
        parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
        missing = parquet.metadata.num_rows
        for group in range(parquet.num_row_groups):
            place = f"row group {group + 1} of {parquet.num_row_groups}"
            batches = parquet.iter_batches(_BATCH_ROWS, row_groups=[group])
            for row in chain.from_iterable(batch.to_pylist() for batch in batches):
                number += 1
                yield number, drop_nulls(row)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        missing = None if missing is None else missing - number
        what = f"{place}: {error}".partition("\n")[0]
        opened.report_damage(what, missing=missing, line=number + 1)


SOURCE = Source(suffixes=(".parquet",), read=_read)
