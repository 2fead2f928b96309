"""docs/data-formats.md: its examples are read as it says, and it names all there is."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from adatta.core.errors import Problem
from adatta.core.records import Origin
from adatta.core.registry import load_registry
from adatta.core.settings import AdaptSettings
from adatta.data.shape import Shaped, load_shapes, shape_row
from adatta.data.source import read_file
from tests.toys.reading import PAGE, read_rows

BLOCKS = re.findall(r"^```\w+ (\S+) ?(\S*) ?(\S*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = {name: (kind, shape, text) for name, kind, shape, text in BLOCKS if shape}
RECIPES = [YAML(typ="safe", pure=True).load(text) for name, _, _, text in BLOCKS if name == "data"]
FIELDS = {
    source["path"]: source["fields"] for recipe in RECIPES for source in recipe["data"] if "fields" in source
}


def shaped(path: Path, kind: str, name: str) -> Iterator[Shaped]:
    problems: list[Problem] = []
    for line, fields in read_file(path, problems):
        names = FIELDS.get(name, {})
        yield shape_row(fields, kind, origin=Origin(path=str(path), line=line), names=names)
    assert not problems


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_has_the_layout_that_the_page_says(name: str, tmp_path: Path) -> None:
    kind, shape, text = EXAMPLES[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    rows = list(shaped(path, kind, name))
    assert rows
    assert {row.shape for row in rows} == {shape}
    assert not [mistake for row in rows for mistake in row.mistakes]


def test_every_layout_has_an_example() -> None:
    assert {shape for _, shape, _ in EXAMPLES.values()} == set(load_shapes())


def test_every_suffix_is_named() -> None:
    for source in load_registry("adatta.data.sources").values():
        for suffix in source.suffixes:
            assert f"`{suffix}`" in PAGE


def test_packed_and_parquet_files_hold_the_same_rows(tmp_path: Path) -> None:
    _, _, text = EXAMPLES["texts.jsonl"]
    plain, packed, zstd, table = (
        tmp_path / f"a.{end}" for end in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet")
    )
    plain.write_text(text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))
    with pa.CompressedOutputStream(str(zstd), "zstd") as file:
        file.write(text.encode())
    rows = [row.row for row in shaped(plain, "document", "")]
    pq.write_table(
        pa.Table.from_pylist([{"text": row.text, "language": row.language} for row in rows]), table
    )
    for path in (packed, zstd, table):
        assert [row.row.row_id for row in shaped(path, "document", "")] == [row.row_id for row in rows]


def test_lists_of_sources_are_right() -> None:
    assert len(RECIPES) == 3
    for recipe in RECIPES:
        AdaptSettings.model_validate(recipe)


def test_bad_rows_have_the_problems_that_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {name: text for name, _, _, text in BLOCKS}
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text(texts["bad.jsonl"], encoding="utf-8")
    problems = read_rows(["bad.jsonl"], "conversation").problems
    assert [f"{problem.where}: {problem.reason}" for problem in problems] == texts["problems"].splitlines()
