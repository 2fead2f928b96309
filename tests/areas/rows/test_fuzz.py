"""10,000 files, each changed at random: no crash, exit 0 or 2, and no untouched row is lost."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

from adatta.chat.render import Chat
from adatta.core.errors import AdattaError
from adatta.core.records import Origin
from adatta.data import overlap
from adatta.data.shape import shape_row
from adatta.pipeline.prepare import StageRows
from adatta.pipeline.sources import ROW_KIND
from tests.areas.rows.checking import load_recipes, prepare, write_recipe
from tests.areas.rows.mutations import (
    FLAT,
    NESTED,
    WRITERS,
    Rows,
    change_row,
    dump,
    flip,
    gz,
    make_row,
    mutate,
    open_quote,
    zst,
)
from tests.toys.command import call
from tests.toys.reading import REASONS

pytestmark = pytest.mark.torch  # builds a toy model

NUM_FILES = {
    "jsonl": 2400,
    "txt": 1000,
    "csv": 1400,
    "tsv": 1000,
    "json": 1400,
    "parquet": 1400,
    "packed": 1400,
}
NUM_BY_COMMAND = 100
MOST_LINES_LOST = 20
KINDS = ("sft", "dpo", "adapt")
PLACE_OF_DAMAGE = re.compile(r"\bbyte \d+|row group \d+ of \d+|the table at its end")
MISSING = re.compile(r"(\d+) rows are missing")


@dataclass(slots=True)
class Told:
    """What became of the files of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)


class Checker:
    """Prepares files of each kind of stage as `adatta check` does, and looks at what comes back."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder / "rows"
        self.folder.mkdir()
        sure = {kind: folder / f"sure-{kind}.jsonl" for kind in KINDS}
        for kind, path in sure.items():
            path.write_bytes(dump(make_row(NESTED[kind][0], "sicura", random.Random(0))) + b"\n")
        self.recipes = load_recipes(folder, model, {kind: ["rows", str(path)] for kind, path in sure.items()})
        self.chat = Chat.load(model, system_prompt=None)
        self.told = Told()

    def check(self, kind: str) -> StageRows | None:
        """Prepare what lies in the folder, first with errors, then with quarantine.

        A sure row beside the folder makes that some row is always left.

        Returns:
            The rows beside those put aside; None where the files themselves can't be used.
        """
        recipe = self.recipes[kind]
        first = prepare(recipe, self.chat)
        assert isinstance(first, StageRows) or first.exit_code == 2, first
        aside = recipe.model_copy(
            update={"on_bad_row": "quarantine", "on_overlong": "quarantine", "max_bad_share": 1.0}
        )
        rows = prepare(aside, self.chat)
        self.told.outcomes["refused" if isinstance(first, AdattaError) else "taken"] += 1
        if isinstance(rows, AdattaError):
            assert rows.exit_code == 2, rows
            return None
        reasons = set(rows.quarantine.reasons)
        assert reasons <= set(REASONS) - {"unexpected"}, list(quarantined(rows))
        assert bool(reasons) == isinstance(first, AdattaError), (first, list(quarantined(rows)))
        self.told.reasons.update(rows.quarantine.reasons)
        self.told.rows.update({key: rows.counts()[key] for key in ("rows", "used", "quarantined")})
        return rows


def quarantined(rows: StageRows) -> Iterator[dict[str, Any]]:
    """Yield the lines of the quarantine file."""
    return map(json.loads, rows.quarantine.content().splitlines())  # bytes end at line feeds only


def used_ids(rows: StageRows) -> set[str]:
    return {branches[0].row_id for branches in rows.train}


def id_of(row: dict[str, Any], kind: str) -> str:
    """Return the id of a good row."""
    found = shape_row(row, ROW_KIND[kind], origin=Origin(path="", line=1)).row
    assert found is not None, row
    return found.row_id


def make_rows(kind: str, num: int, draw: random.Random, *, shapes: dict[str, tuple[str, ...]]) -> Rows:
    """Make good rows of one shape."""
    shape = draw.choice(shapes[kind])
    return [make_row(shape, f"n{number}", draw) for number in range(num)]


@pytest.fixture
def checker(tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checker]:
    monkeypatch.setattr(overlap, "TABLE_PLACES", 2**12)  # to fill 32 MiB with zeros takes 40 ms a file
    checker = Checker(tmp_path, toy_folder)
    yield checker
    told = checker.told
    print(dict(told.outcomes), dict(told.rows), dict(told.reasons.most_common()), sep="\n")


def each(kind: str) -> Iterator[tuple[int, random.Random, str]]:
    """Yield number, generator and kind of stage of each file of a kind."""
    for number in range(NUM_FILES[kind]):
        yield number, random.Random(f"{kind} {number}"), KINDS[number % len(KINDS)]


def only(folder: Path, name: str, content: bytes) -> Path:
    """Make a file the only one of a folder."""
    for path in folder.iterdir():
        path.unlink()
    (folder / name).write_bytes(content)
    return folder / name


def test_there_are_10000_files() -> None:
    assert sum(NUM_FILES.values()) == 10_000


def test_changed_jsonl_loses_no_untouched_line(checker: Checker) -> None:
    for number, draw, kind in each("jsonl"):
        rows = make_rows(kind, draw.randint(1, 8), draw, shapes=NESTED)
        untouched = {dump(row): id_of(row, kind) for row in rows}
        if number % 2:
            for row in draw.sample(rows, draw.randint(1, len(rows))):
                change_row(row, draw)
        content = WRITERS["jsonl"](rows, draw)
        if number % 4 != 1:
            content = mutate(content, draw)
        path = only(checker.folder, "a.jsonl", content)
        found = checker.check(kind)
        assert found is not None, path
        lines = [line for line in content.split(b"\n") if line.strip()]
        assert found.counts()["rows"] - 1 == max(len(lines), 1), path
        counts = found.counts()
        assert counts["rows"] == counts["used"] + counts["quarantined"]
        needed = {untouched[line.rstrip(b"\r")] for line in lines if line.rstrip(b"\r") in untouched}
        assert needed <= used_ids(found), (number, content)


def test_changed_folder_of_text_loses_no_untouched_file(checker: Checker) -> None:
    for number, draw, _ in each("txt"):
        rows = make_rows("adapt", draw.randint(1, 6), draw, shapes=NESTED)
        for path in checker.folder.iterdir():
            path.unlink()
        needed = set()
        for place, row in enumerate(rows):
            content = row["text"].encode()
            if draw.random() < 0.4:
                content = mutate(content, draw)
            else:
                needed.add(id_of(row, "adapt"))
            (checker.folder / f"{'abcdef'[place]}.{draw.choice(('txt', 'md', 'TXT'))}").write_bytes(content)
        found = checker.check("adapt")
        assert found is not None
        assert found.counts()["rows"] - 1 == len(rows)
        assert needed <= used_ids(found), number


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_damage_to_a_table_takes_at_most_twenty_lines_with_it(suffix: str, checker: Checker) -> None:
    for number, draw, kind in each(suffix):
        rows = make_rows(kind, draw.choice((3, 30, 60)), draw, shapes=FLAT)
        is_strict = number % 2 == 0  # no field of several lines, where twenty lines may end
        if is_strict:
            signs = draw.choice(
                ("\n", '\n",;')
            )  # without any quotes, one that opens takes most lines with it
            rows = [{key: re.sub(f"[{signs}]", " ", text) for key, text in row.items()} for row in rows]
        before = WRITERS[suffix](rows, draw)
        after = mutate(before, draw) if draw.random() < 0.6 else open_quote(before, draw)
        only(checker.folder, f"a.{suffix}", after)
        found = checker.check(kind)
        assert found is not None, (suffix, number)
        old, new = before.split(b"\n"), after.split(b"\n")
        first = _count_alike(zip(old, new, strict=False))
        num_after = _count_alike(zip(reversed(old[first:]), reversed(new[first:]), strict=False))
        if first == 0:
            continue  # the header is another
        needed = {
            id_of(row, kind)
            for row, (start, end) in zip(rows, _lines_of_records(before, suffix), strict=True)
            if end <= first or (is_strict and start >= len(old) - num_after + MOST_LINES_LOST)
        }
        assert needed <= used_ids(found), (suffix, number, first)


def _count_alike(pairs: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _lines_of_records(content: bytes, suffix: str) -> list[tuple[int, int]]:
    """Return the first line of each record of a good table, from 0, and the one behind its last."""
    delimiter = "\t" if suffix == "tsv" else max(",;", key=content.decode().partition("\n")[0].count)
    reader = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter)
    ends = [reader.line_num for _ in reader]
    return list(pairwise(ends))


def test_changed_json_is_read_up_to_the_damage(checker: Checker) -> None:
    for number, draw, kind in each("json"):
        rows = make_rows(kind, draw.randint(1, 8), draw, shapes=NESTED)
        ids = [id_of(row, kind) for row in rows]
        if number % 3 == 0:
            for row in draw.sample(rows, draw.randint(1, len(rows))):
                change_row(row, draw)
            ids = []
        before = WRITERS["json"](rows, draw)
        after = mutate(before, draw) if number % 3 else before
        only(checker.folder, "a.json", after)
        found = checker.check(kind)
        assert found is not None, number
        check_places(found)
        alike = _count_alike(zip(_split(before), _split(after), strict=False))
        num_before = before[:alike].count(b"}") and _count_closed(before[:alike])
        assert set(ids[:num_before]) <= used_ids(found), number


def _split(content: bytes) -> list[bytes]:
    return [content[place : place + 1] for place in range(len(content))]


def _count_closed(text: bytes) -> int:
    """Count the rows of a list that end, with what follows them, before the end of a text."""
    rows, decoder = 0, json.JSONDecoder()
    place = text.index(b"[") + 1 if b"[" in text else len(text)
    rest = text[place:].decode("utf-8", "ignore")
    while rest.strip():
        try:
            _, end = decoder.raw_decode(rest.lstrip())
        except ValueError:
            break
        rest = rest.lstrip()[end:].lstrip()
        if rest[:1] != ",":
            break
        rows, rest = rows + 1, rest[1:]
    return rows


def test_damaged_parquet_tells_the_row_group_and_what_is_missing(checker: Checker) -> None:
    num_told = 0
    for number, draw, kind in each("parquet"):
        rows = make_rows(kind, draw.randint(1, 12), draw, shapes=NESTED)
        if number % 3 == 0:
            for row in draw.sample(rows, draw.randint(1, len(rows))):
                change_row(row, draw)
        content = WRITERS["parquet"](rows, draw)
        if number % 3 == 1:
            content = mutate(content, draw)
        elif number % 3 == 2:  # the table at the end stays as it is
            footer = int.from_bytes(content[-8:-4], "little") + 8
            content = flip(content[:-footer], draw) + content[-footer:]
        only(checker.folder, "a.parquet", content)
        found = checker.check(kind)
        assert found is not None, number
        check_places(found)
        damage = [line for line in quarantined(found) if line["reason"] == "unreadable"]
        missing = [int(told[1]) for line in damage if (told := MISSING.search(line["what"]))]
        if number % 3 == 2:
            assert len(missing) == len(damage), damage
            num_told += len(missing)
            counts = found.counts()
            num_known = counts["used"] - 1 + counts["quarantined"]
            assert num_known == len(rows) + missing.count(0), (number, damage)
    assert num_told > 20


def test_damaged_packed_file_tells_the_byte(checker: Checker) -> None:
    for number, draw, kind in each("packed"):
        suffix = draw.choice(tuple(WRITERS))
        rows = make_rows(kind, draw.randint(1, 12), draw, shapes=FLAT if suffix in ("csv", "tsv") else NESTED)
        content = WRITERS[suffix](rows, draw)
        pack, packing = draw.choice(((gz, "gz"), (zst, "zst")))
        is_inside = number % 4 == 0
        content = pack(mutate(content, draw)) if is_inside else mutate(pack(content), draw)
        only(checker.folder, f"a.{suffix}.{packing}", content)
        found = checker.check(kind)
        assert found is not None, number
        check_places(found)


def check_places(rows: StageRows) -> None:
    """Require of each damage that its place is told, and that it ends what is read of the file."""
    damage = [line for line in quarantined(rows) if line["what"].startswith("damaged: ")]
    assert len(damage) <= 1, damage
    for line in damage:
        assert PLACE_OF_DAMAGE.search(line["what"]), line


def test_command_ends_with_0_or_2_whatever_is_in_the_file(
    tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))
    codes: Counter[int] = Counter()
    for number in range(NUM_BY_COMMAND):
        draw = random.Random(f"command {number}")
        kind, suffix = draw.choice(KINDS), draw.choice(tuple(WRITERS))
        rows = make_rows(kind, 20, draw, shapes=FLAT if suffix in ("csv", "tsv") else NESTED)
        name = f"rows-{number}.{suffix}"
        (tmp_path / name).write_bytes(mutate(WRITERS[suffix](rows, draw), draw))
        how = {"on_bad_row": draw.choice(("error", "quarantine")), "max_bad_share": draw.choice((0.05, 1.0))}
        code = call("check", str(write_recipe(tmp_path, toy_folder, kind, name, **how)))
        said = capsys.readouterr()
        codes[code] += 1
        assert code in (0, 2), said.err
        assert "Traceback" not in said.err + said.out
        assert "unexpected" not in said.err + said.out
        assert code == 0 or str(tmp_path) in said.err or "stage " in said.err, said.err
    print(dict(codes))
    assert min(codes[0], codes[2]) > 10
