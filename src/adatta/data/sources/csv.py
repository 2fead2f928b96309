"""Tables of texts: a header with the names of the fields, then one record a row.

Fields may be quoted with `"`, which is doubled inside them; quoted fields may hold newlines. Between the
fields of a `.tsv` are tabs, of a `.csv` whatever its header has most of: commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from adatta.core.rows import BOM, LONGEST_LINE_BYTES
from adatta.data.source import Numbered, Opened, Source, sift

_LONGEST_FIELD_CHARS = 2**24
_LONGEST_RECORD_LINES = 10_000
_MOST_LINES_LOST = 20  # what a damaged record may take with it
_OPEN_QUOTE = re.compile(r'"(?:[^"]++|"")*+\Z')
_HINT = 'put a field that holds ", a newline or a separator into quotes, and double each " in it'


class _Lines:
    """The lines of a file as `csv.reader` takes them; those that a damaged record took can be given back."""

    def __init__(self, first: str, file: BinaryIO) -> None:
        self.record: list[str] = []
        self.number = 1
        self._file = file
        self._back = deque([first])
        self._limit = self._seen = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.record) == self._limit:
            raise StopIteration
        back = self._back
        line = back.popleft() if back else _decode(self._file.readline(LONGEST_LINE_BYTES))
        if not line:
            raise StopIteration
        self.record.append(line)
        return line

    def start(self) -> int:
        """Begin a record and return its line; what one record took in vain, the next don't take again."""
        self.number += len(self.record)
        self.record.clear()
        self._limit = _LONGEST_RECORD_LINES if self.number >= self._seen else _MOST_LINES_LOST + 1
        return self.number

    def give_back(self, num_read: int) -> int:
        """Give back what follows the line whose quote is open behind the first lines; return that line."""
        text = "".join(self.record[:num_read])
        quote = _OPEN_QUOTE.search(text)
        keep = text.count("\n", 0, quote.start()) + 1 if quote else 1
        keep = keep if keep <= _MOST_LINES_LOST else 1
        self._seen = max(self._seen, self.number + len(self.record))
        self._back.extendleft(reversed(self.record[keep:]))
        del self.record[keep:]
        return self.number + keep - 1


def _read(opened: Opened) -> Iterator[Numbered]:
    return sift(_records(opened), path=opened.path, problems=opened)


def _records(opened: Opened) -> Iterator[tuple[int, dict[str, str]]]:
    first = opened.file.readline(LONGEST_LINE_BYTES)
    if first.startswith(BOM):
        opened.report("byte order mark", hint="save as UTF-8 without BOM", reason="byte_order_mark", line=1)
    lines = _Lines(_decode(first.removeprefix(BOM)), opened.file)
    is_tsv = ".tsv" in opened.path.name.lower()
    separator = "\t" if is_tsv else max(",;\t", key=_decode(first).count)
    csv.field_size_limit(_LONGEST_FIELD_CHARS)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] = []
    while True:
        line = lines.start()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # It stops at the end, or at text behind a quote that was to open and closes what was open.
            cells, mistake = [], str(error)
            num_read = len(lines.record) - ("unexpected end" not in mistake)
        else:
            if cells is None:
                return
            mistake, num_read = _misfit(cells, header, lines.record, separator)
        if num_read:
            line, mistake = lines.give_back(num_read), "a quote opens here and doesn't close"
        if mistake:
            hint = _HINT if header or not cells else "give each column a name of its own"
            opened.report(mistake, hint=hint, reason="broken_csv", line=line)
            if not header:
                return
        elif cells and header:
            yield line, dict(zip(header, cells, strict=True))
        header = header or cells


def _misfit(cells: list[str], header: list[str], record: list[str], separator: str) -> tuple[str, int]:
    """Say what is wrong with a record, and how many of its lines stand in a quote that shouldn't be open."""
    if not header:
        return "the header has a name twice" * (len(set(cells)) < len(cells)), 0
    num_like_rows = sum(line.count(separator) == len(header) - 1 for line in record)
    too_long = len(record) - 1 if len(record) > _MOST_LINES_LOST + 1 else 0
    if cells and len(cells) != len(header):
        return f"{len(cells)} fields, the header has {len(header)}", too_long
    return "", too_long if len(header) > 1 and 10 * num_like_rows > 9 * len(record) else 0


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


SOURCE = Source(suffixes=(".csv", ".tsv"), read=_read)
