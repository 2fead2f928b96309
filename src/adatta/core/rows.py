"""Read JSONL files: each object with its line, each mistake with `path:line`, none of them fatal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from adatta.core.errors import DataError, Problem

_BOM = b"\xef\xbb\xbf"


def read_jsonl(path: str | Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) for each good line; append a problem for each bad one.

    Lines end at a line feed only; blank lines are no rows. Read to the end before looking at `problems`.

    Args:
        path: the file, UTF-8 without byte order mark, one JSON object a line.
        problems: the caller's list, which grows.

    Raises:
        DataError: if the file can't be opened.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; only the opening may fail here
    except OSError as error:
        raise DataError(
            Problem(
                where=str(path),
                what=f"can't be read: {error.strerror}",
                hint="give the path of a .jsonl file",
            )
        ) from error
    with file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            if number == 1 and line.startswith(_BOM):
                line = line.removeprefix(_BOM)
                problems.append(
                    Problem(where=where, what="byte order mark", hint="save as UTF-8 without BOM")
                )
            if not line.strip():
                continue
            row = _parse(line.rstrip(b"\r\n"), where)
            if isinstance(row, Problem):
                problems.append(row)
            else:
                yield number, row


def _parse(line: bytes, where: str) -> dict[str, Any] | Problem:
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if b"\\u" in line:
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except UnicodeDecodeError as error:
        return Problem(where=where, what=f"no UTF-8 at byte {error.start + 1}", hint="save the file as UTF-8")
    except UnicodeEncodeError:
        return Problem(where=where, what="half a surrogate pair", hint="write the character itself, in UTF-8")
    except json.JSONDecodeError as error:
        what = f"broken JSON: {error.msg} at column {error.colno}"
        return Problem(where=where, what=what, hint="one JSON object a line")
    except (ValueError, RecursionError) as error:
        return Problem(where=where, what=f"unusable JSON: {error}", hint="one plain JSON object a line")
    if not isinstance(row, dict):
        what = f"a {type(row).__name__} instead of an object"
        return Problem(where=where, what=what, hint='one JSON object a line, such as {"text": "..."}')
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice in one object"
        )
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
