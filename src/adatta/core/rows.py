"""Read JSONL files: each object with its line, each mistake with `path:line`, none of them fatal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from adatta.core.errors import DataError, Problem
from adatta.core.problems import Sink

BOM = b"\xef\xbb\xbf"
LONGEST_LINE_BYTES = 2**26  # one line is held in memory
_SUSPECT = re.compile(rb"\\u(?:0000|[dD])")  # escapes that can stand for what no text may hold
_ONE_OBJECT = 'one JSON object a line, such as {"text": "..."}'


def read_jsonl(path: str | Path, problems: Sink) -> Iterator[tuple[int, dict[str, Any]]]:
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
        hint = "give the path of a .jsonl file"
        raise DataError(f"can't be read: {error.strerror}", where=str(path), hint=hint) from error
    with file:
        yield from read_lines(file, path=path, problems=problems)


def read_lines(file: BinaryIO, *, path: str | Path, problems: Sink) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) for each good line; append just one problem for each bad one.

    Args:
        file: What to read, from its beginning.
        path: What it is called in messages.
        problems: The caller's list, which grows.
    """
    path = str(path)
    for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE_BYTES), b""), start=1):
        row = parse_row(line, where=f"{path}:{number}")
        if isinstance(row, dict):
            yield number, row
        elif row is not None:
            problems.append(row)
        while len(line) == LONGEST_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE_BYTES)


def parse_row(line: bytes, *, where: str) -> dict[str, Any] | Problem | None:
    """Parse a JSON object.

    Args:
        line: Its text.
        where: Its place.

    Returns:
        The object, or what is wrong with it; None for a blank line.
    """
    try:
        row = _DECODER.decode(line.rstrip(b"\r\n").decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return _explain(error, line, where=where) if line.strip() else None
    if not isinstance(row, dict):
        what = f"a {type(row).__name__} instead of an object"
        return Problem(where=where, what=what, hint=_ONE_OBJECT, reason="not_an_object", read=row)
    fault = find_wrong_text(row, where=where) if _SUSPECT.search(line) else None
    return fault or row


def find_wrong_text(row: dict[str, Any], *, where: str) -> Problem | None:
    """Find a text or key of a row that is no text in Unicode's sense, or that holds a NUL.

    Args:
        row: A row; bytes that are no UTF-8 may have been read with `surrogateescape`.
        where: Its place.
    """
    for field, value in row.items():
        name = str(field).encode("utf-8", "replace").decode("utf-8")
        text = "".join((str(field), *_texts(value)))
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            if "\udc80" <= text[error.start] <= "\udcff":
                what, hint, reason = "bytes that are no UTF-8", "save the file as UTF-8", "not_utf8"
            else:
                what, hint, reason = "half a surrogate pair", "write the character itself", "surrogate"
            return Problem(where=where, what=what, hint=hint, reason=reason, field=name, read=row)
        if "\0" in text:
            hint = "take it out of the text"
            return Problem(where=where, what="a NUL character", hint=hint, reason="nul", field=name, read=row)
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from (str(key), *_texts(part))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _explain(error: Exception, line: bytes, *, where: str) -> Problem:
    """Say why a line can't be parsed."""
    hint, reason = "one plain JSON object a line", "broken_json"
    if len(line) == LONGEST_LINE_BYTES:
        what = f"a line of {LONGEST_LINE_BYTES} bytes or more"
    elif line.startswith(BOM):
        what, hint, reason = "byte order mark", "save as UTF-8 without BOM", "byte_order_mark"
    elif isinstance(error, UnicodeDecodeError):
        what, hint, reason = f"no UTF-8 at byte {error.start + 1}", "save the file as UTF-8", "not_utf8"
    elif b"\0" in line:
        what, hint, reason = f"a NUL at byte {line.index(0) + 1}", "save the file as UTF-8", "nul"
    elif isinstance(error, json.JSONDecodeError):
        what, hint = f"broken JSON: {error.msg.removesuffix(' at')} at column {error.colno}", _ONE_OBJECT
    else:
        what = f"unusable JSON: {error}"
    # What is no UTF-8 becomes the escape of half a surrogate pair, which can be turned back.
    read = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    return Problem(where=where, what=what, hint=hint, reason=reason, read=read)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
