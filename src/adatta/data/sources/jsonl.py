"""Files of one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator

from adatta.core.rows import read_lines
from adatta.data.source import Numbered, Opened, Source


def _read(opened: Opened) -> Iterator[Numbered]:
    return read_lines(opened.file, path=opened.path, problems=opened)


SOURCE = Source(suffixes=(".jsonl", ".ndjson"), read=_read)
