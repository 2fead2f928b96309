"""Files are found, opened and unpacked; what can't be read is named and nothing hangs."""

from __future__ import annotations

import gzip
import json
import os
import re
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from adatta.data import source
from adatta.data.source import find_files, read_file
from tests.toys.reading import REASONS

ROWS = [{"text": f"riga {number}, perché no"} for number in range(300)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
TEXTS = {"a.txt": b"uno", "b.md": b"due", "c/d.jsonl": b'{"text": "tre"}\n'}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def find(folder: Path, spec: str = "") -> tuple[list[str], list[str]]:
    problems: list = []
    found = list(find_files(folder / spec if spec else folder, problems))
    assert all(problem.reason in REASONS for problem in problems)
    told = [f"{problem.where.replace(f'{folder}', '.')}: {problem.what}" for problem in problems]
    return [str(path.relative_to(folder)) for path in found], told


def read(path: Path, *, tolerant: bool = False) -> tuple[list, list]:
    problems: list = []
    rows = list(read_file(path, problems, tolerant=tolerant))
    assert all(problem.reason in REASONS for problem in problems)
    return rows, problems


def pack(kind: str, content: bytes) -> bytes:
    return gzip.compress(content) if kind == "gz" else pa.compress(content, "zstd", asbytes=True)


def test_find_files_of_a_folder_is_sorted_and_leaves_out_what_is_no_data(tmp_path):
    fill(tmp_path, {**TEXTS, "README.md": b"x", ".hidden/e.txt": b"x", "c/LICENSE.txt": b"x"})
    assert find(tmp_path) == (["a.txt", "b.md", "c/d.jsonl"], [])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", ["a.txt"]),
        ("*", ["a.txt", "b.md"]),
        ("**/*", ["a.txt", "b.md", "c/d.jsonl"]),
        ("**/*.jsonl*", ["c/d.jsonl"]),
        ("?/d.jsonl", ["c/d.jsonl"]),
        ("[ab].*", ["a.txt", "b.md"]),
    ],
)
def test_find_files_of_a_glob_are_its_files(pattern, names, tmp_path):
    fill(tmp_path, {**TEXTS, "README.md": b"x", ".hidden.txt": b"x"})
    assert find(tmp_path, pattern) == (names, [])


def test_find_files_takes_a_name_with_brackets_as_it_stands(tmp_path):
    fill(tmp_path, {"a[1].txt": b"uno"})
    assert find(tmp_path, "a[1].txt") == (["a[1].txt"], [])


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("missing.jsonl", "./missing.jsonl: no such file"),
        ("*.parquet", "./*.parquet: no file matches"),
        ("**.txt", "./**.txt: no file matches"),
        ("x.jsonl", "./x.jsonl: no data file in this folder"),
        ("loop.jsonl", "./loop.jsonl: can't be read: Too many levels of symbolic links"),
        ("pipe.jsonl", "./pipe.jsonl: not a file but a pipe, socket or device"),
        ("table.xlsx", "./table.xlsx: unknown kind of file '.xlsx'"),
        ("table.gz", "./table.gz: unknown kind of file ''"),
    ],
)
def test_find_files_names_what_it_cannot_take(spec, told, tmp_path):
    (tmp_path / "x.jsonl").mkdir()
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    fill(tmp_path, {"table.xlsx": b"x", "table.gz": b"x"})
    assert find(tmp_path, spec) == ([], [told])


def test_find_files_of_a_folder_names_pipes_and_links_beside_the_files(tmp_path):
    fill(tmp_path, {"f/a.txt": b"uno"})
    os.mkfifo(tmp_path / "f" / "pipe.jsonl")
    (tmp_path / "f" / "up").symlink_to("..")
    (tmp_path / "f" / "lost.txt").symlink_to("nowhere")
    (tmp_path / "f" / os.fsdecode(b"perch\xe9.txt")).write_text("x")
    found, told = find(tmp_path / "f")
    assert found == ["a.txt"]
    assert told == [
        "./lost.txt: no such file",
        "./perch?.txt: a file name that is no UTF-8",
        "./pipe.jsonl: not a file but a pipe, socket or device",
        "./up: a folder that can't be read, or a link to one",
    ]


def test_find_files_names_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    fill(tmp_path, TEXTS)
    listdir = os.listdir

    def refuse(folder):
        if Path(folder).name == "c":
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(source.os, "listdir", refuse)
    found, told = find(tmp_path)
    assert found == ["a.txt", "b.md"]
    assert told == ["./c: a folder that can't be read, or a link to one"]


def test_read_file_without_permission_is_a_problem(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    rows, problems = read(tmp_path / "rows.jsonl")
    assert rows == []
    assert [problem.what for problem in problems] == ["can't be read: Permission denied"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.jsonl.gz", "a.csv.zst", "a.md"])
def test_read_file_of_an_empty_file_says_so(name, tmp_path):
    fill(tmp_path, {name: b""})
    rows, problems = read(tmp_path / name)
    assert rows == []
    assert [(problem.what, problem.reason) for problem in problems] == [("empty file", "empty")]


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_read_file_unpacks(kind, tmp_path):
    fill(tmp_path, {f"a.jsonl.{kind}": pack(kind, LINES), f"B.JSONL.{kind.upper()}": pack(kind, LINES) * 2})
    rows, problems = read(tmp_path / f"a.jsonl.{kind}")
    assert ([row for _, row in rows], problems) == (ROWS, [])
    assert [number for number, _ in rows] == list(range(1, 301))
    twice, problems = read(tmp_path / f"B.JSONL.{kind.upper()}")
    assert ([row for _, row in twice], problems) == (ROWS * 2, [])


DAMAGES = {
    "cut off": lambda packed: packed[: len(packed) * 2 // 3],
    "garbage behind it": lambda packed: packed + b"garbage",
    "no packed file": lambda packed: LINES,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_read_file_of_a_damaged_packed_file_names_the_byte(kind, damage, tmp_path):
    content = DAMAGES[damage](pack(kind, LINES))
    path = fill(tmp_path, {f"a.jsonl.{kind}": content}) / f"a.jsonl.{kind}"
    for tolerant, hint in ((False, "the whole file is refused"), (True, "the rows before it are used")):
        rows, problems = read(path, tolerant=tolerant)
        assert [row for _, row in rows] == ROWS[: len(rows)]
        (problem,) = problems
        assert problem.where == f"{path}:{len(rows) + 1}"
        assert problem.what.startswith("damaged: ")
        place = int(re.search(r"at or before byte (\d+) of the file", problem.what)[1])
        assert place == len(content) or damage == "no packed file"
        assert problem.hint.startswith(hint)
        assert "how many rows are missing isn't told" in problem.what


def test_read_file_of_a_gz_with_garbage_behind_it_gives_all_rows(tmp_path):
    path = fill(tmp_path, {"a.jsonl.gz": gzip.compress(LINES) + b"garbage"}) / "a.jsonl.gz"
    assert [row for _, row in read(path, tolerant=True)[0]] == ROWS


def test_read_file_of_a_gz_with_a_wrong_checksum_is_damaged(tmp_path):
    packed = bytearray(gzip.compress(LINES))
    packed[-8] ^= 1
    path = fill(tmp_path, {"a.jsonl.gz": bytes(packed)}) / "a.jsonl.gz"
    assert "CRC check failed" in read(path)[1][0].what


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.csv"])
def test_read_file_keeps_memory_bounded(name, tmp_path):
    text = "x" * 1000
    content = {
        ".jsonl": f'{{"text": "{text}"}}\n' * 5_000,
        ".json": "[" + ",\n".join([f'{{"text": "{text}"}}'] * 5_000) + "]",
        ".csv": "text\n" + f'"{text}"\n' * 5_000,
    }[Path(name.removesuffix(".gz").removesuffix(".zst")).suffix].encode()
    kind = Path(name).suffix[1:]
    fill(tmp_path, {name: pack(kind, content) if kind in ("gz", "zst") else content})
    del content
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_file(tmp_path / name, [])) == 5_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2_000_000  # of 5 MB
