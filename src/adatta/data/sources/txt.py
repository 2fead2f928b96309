"""Files that are one text each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adatta.core.errors import Problem


def read_text(path: str | Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the whole file as one row, without the newlines at its end.

    Args:
        path: The file, UTF-8.
        problems: The caller's list, which grows.

    Yields:
        1 and `{"text": ...}`; nothing for an empty file.
    """
    content = Path(path).read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(
            Problem(
                where=f"{path}:{line}",
                what=f"no UTF-8 at byte {error.start + 1}",
                hint="save the file as UTF-8",
            )
        )
        return
    if text.startswith("\ufeff"):
        problems.append(Problem(where=f"{path}:1", what="byte order mark", hint="save as UTF-8 without BOM"))
    if text.strip():
        yield 1, {"text": text.removeprefix("\ufeff").rstrip("\r\n")}


SOURCE = read_text
