"""What a source is: a kind of file that gives rows; the kinds themselves are in `data/sources`."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from adatta.core.errors import Problem
from adatta.core.problems import Sink
from adatta.core.registry import load_registry
from adatta.core.rows import BOM, find_wrong_text

Numbered = tuple[int, dict[str, Any]]
"""A row's fields and where they stand: a line from 1, or, where lines don't tell it, a record from 1."""

_NOT_DATA = ("readme", "license")


@dataclass(slots=True, kw_only=True)
class Opened:
    """A file that is being read, unpacked where it is packed.

    `tolerant`: what comes before a damage is used. `num_problems` were reported so far.
    """

    path: Path
    file: BinaryIO
    problems: Sink
    tolerant: bool
    num_problems: int = 0

    def report(self, what: str, *, hint: str, reason: str, line: int | None = None, rows: int = 1) -> None:
        """Name a problem of this file.

        Args:
            what: What is wrong.
            hint: What to do.
            reason: A name that docs/data-formats.md explains.
            line: Line or record, from 1.
            rows: How many rows are lost by it.
        """
        where = str(self.path) if line is None else f"{self.path}:{line}"
        self.append(Problem(where=where, what=what, hint=hint, reason=reason, rows=rows))

    def report_damage(self, what: str, *, missing: int | None = None, line: int | None = None) -> None:
        """Name what makes the rest of the file unreadable.

        Args:
            what: What is wrong, with its place.
            missing: Number of rows that can't be read, where the file tells it.
            line: Line or record, from 1.
        """
        rest = "how many rows are missing isn't told" if missing is None else f"{missing} rows are missing"
        hint = "the rows before it are used"
        if not self.tolerant:
            hint = "the whole file is refused: write it anew, or set on_bad_row: quarantine"
        rows = max(missing or 0, 1)
        self.report(f"damaged: {what}; {rest}", hint=hint, reason="unreadable", line=line, rows=rows)

    def append(self, problem: Problem, /) -> None:
        """Pass on a problem."""
        self.num_problems += 1
        self.problems.append(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kind of file: its suffixes, with their dot and in lower case, and what reads it."""

    suffixes: tuple[str, ...]
    read: Callable[[Opened], Iterator[Numbered]]


def read_file(
    path: Path, problems: Sink, *, tolerant: bool = False, skip_mark: bool = False
) -> Iterator[Numbered]:
    """Read the rows of a file in bounded memory; nothing that is in it raises an error.

    A damage ends the rows. Those before it have been given by then: who reads without `tolerant` uses no row
    of a file with a problem.

    Args:
        path: A file of a known kind, as `find_files` gives them; `.gz` and `.zst` are unpacked.
        problems: Takes what is wrong; a problem about one row stands for a row that isn't given.
        tolerant: Say in the messages that the rows before a damage are used.
        skip_mark: Pass over a byte order mark, for files that aren't the user's to mend.

    Yields:
        Line or record from 1, and fields.
    """
    line = 0
    try:
        packed = open(path, "rb")  # noqa: SIM115 - closed below; only the opening may fail here
    except OSError as error:
        problems.append(_unusable(path, f"can't be read: {error.strerror}"))
        return
    with packed:
        file = _unpack(path, packed)
        opened = Opened(path=path, file=file, problems=problems, tolerant=tolerant)
        try:
            if skip_mark and cast(io.BufferedReader, file).peek(len(BOM)).startswith(BOM):
                file.read(len(BOM))
            for line, fields in _sources()[_suffix(path)].read(opened):
                yield line, fields
        except (OSError, EOFError, zlib.error) as error:
            opened.report_damage(f"{error}, at or before byte {packed.tell()} of the file", line=line + 1)
        if not line and not opened.num_problems:
            opened.report("empty file", hint="write rows into it, or take it out", reason="empty")


def sift(rows: Iterable[Numbered], *, path: str | Path, problems: Sink) -> Iterator[Numbered]:
    """Yield the rows whose texts are Unicode without NUL; append a problem for each other one.

    Args:
        rows: Line or record from 1, and fields.
        path: What the file is called in messages.
        problems: The caller's list, which grows.
    """
    for number, row in rows:
        fault = find_wrong_text(row, where=f"{path}:{number}")
        if fault is None:
            yield number, row
        else:
            problems.append(fault)


def drop_nulls(value: Any) -> Any:
    """Take the keys without a value out of objects: in tables, each row has the keys of all of them."""
    if isinstance(value, dict):
        return {key: drop_nulls(part) for key, part in value.items() if part is not None}
    return [drop_nulls(part) for part in value] if isinstance(value, list) else value


def find_files(spec: str | Path, problems: Sink) -> Iterator[Path]:
    """Yield the data files that a path stands for, sorted; links to folders aren't followed.

    Args:
        spec: A file, a folder, or a glob such as `data/*.jsonl.gz` (`**` stands for any folders).
        problems: What is missing, unreadable or of an unknown kind is added here.

    Yields:
        Files of a known kind that can be looked at.
    """
    path = Path(spec)
    if path.is_dir():
        found, nothing = _inside(path), "no data file in this folder"
    elif os.path.lexists(path) or not _is_pattern(str(path)):
        found, nothing = iter([path]), ""
    else:
        found, nothing = _matching(path), "no file matches"
    for file in found:
        nothing = ""
        if what := _fault(file):
            problems.append(_unusable(file, what))
        else:
            yield file
    if nothing:
        problems.append(_unusable(path, nothing))


@cache
def _sources() -> Mapping[str, Source]:
    """Return the source for each suffix."""
    sources = load_registry("adatta.data.sources").values()
    return {suffix: source for source in sources for suffix in source.suffixes}


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz").removesuffix(".zst")).suffix


def _unpack(path: Path, packed: BinaryIO) -> BinaryIO:
    match path.suffix.lower():
        case ".gz":
            return cast(BinaryIO, gzip.GzipFile(fileobj=packed, mode="rb"))
        case ".zst":
            return io.BufferedReader(pa.CompressedInputStream(packed, "zstd"))
    return packed


def _inside(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and its folders, sorted by parts, without what isn't meant as data."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        yield folder  # named as unreadable
        return
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _inside(path)
        elif not path.name.lower().startswith(_NOT_DATA):
            yield path


def _matching(pattern: Path) -> Iterator[Path]:
    root = Path(*takewhile(lambda part: not _is_pattern(part), pattern.parts))
    try:
        found = sorted({path for path in root.glob(str(pattern.relative_to(root))) if not path.is_dir()})
    except ValueError:  # such as data/**.txt
        return
    for path in found:
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") for part in parts) and not path.name.lower().startswith(_NOT_DATA):
            yield path


def _is_pattern(text: str) -> bool:
    return any(char in text for char in "*?[")


def _fault(path: Path) -> str:
    """Say why something can't be a data file; a pipe must never be opened, as that could wait for ever."""
    try:
        mode = path.stat().st_mode
        str(path).encode("utf-8")
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except UnicodeEncodeError:
        return "a file name that is no UTF-8"
    if stat.S_ISDIR(mode):
        return "a folder that can't be read, or a link to one"
    if not stat.S_ISREG(mode):
        return "not a file but a pipe, socket or device"
    return "" if _suffix(path) in _sources() else f"unknown kind of file {_suffix(path)!r}"


def _unusable(path: Path, what: str) -> Problem:
    where = str(path).encode("utf-8", "replace").decode("utf-8")
    hint = f"give a file ({', '.join(_sources())}), a folder of them, or a pattern such as data/*.jsonl.gz"
    return Problem(where=where, what=what, hint=hint, reason="unreadable")
