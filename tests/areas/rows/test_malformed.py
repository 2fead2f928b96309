"""Every malformed file is refused by `adatta check` with one message that names file and line."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from adatta.core.errors import AdattaError
from adatta.core.recipe import load_recipe
from adatta.core.records import Origin
from adatta.core.rows import parse_row
from adatta.data.shape import load_shapes, shape_row
from adatta.evals import suite
from adatta.pipeline.check import check_recipe
from adatta.pipeline.context import open_context
from adatta.pipeline.sources import ROW_KIND
from tests.areas.rows.checking import write_recipe
from tests.areas.rows.malformed import ROWS, Malformed, good, lines, talk
from tests.areas.rows.malformed_files import FILES
from tests.toys.command import call
from tests.toys.reading import REASONS
from tests.toys.recipes import write_small_suite

MALFORMED = {**ROWS, **FILES}
ELSEWHERE = {"leak", "near_duplicate", "template"}  # reached by tests of their own below
MEASURED = {"repeated", "wrong_fields"}  # of texts and benchmarks that are measured, never of training rows
PACKED = (".gz", ".zst", ".parquet")

pytestmark = pytest.mark.torch  # builds a toy model


def write(work: Path, model: Path, name: str, file: Malformed) -> Path:
    for path, content in {**file.beside, name: file.content}.items():
        (work / path).write_bytes(content)
    return write_recipe(work, model, file.kind, [*file.beside, name], **file.settings)


def line_in_an_editor(content: bytes, line: int) -> bytes:
    return content.split(b"\n")[line - 1]


def test_there_are_enough_of_them() -> None:
    assert len(MALFORMED) >= 60


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_file_is_refused_with_file_and_line(
    name: str, work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = MALFORMED[name]
    recipe = write(work, toy_folder, name, file)
    assert call("check", str(recipe)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "unexpected" not in said
    where = f"{work / name}:{file.line}" if file.line else f"{work / name}"
    told = [line for line in said.splitlines() if line.startswith(("adatta: /", "/"))]
    assert told[0].removeprefix("adatta: ").startswith(f"{where}: "), said
    assert file.what in told[0], said
    assert len(told) == file.problems, said
    assert re.search(rf"\b{file.reason}\b", said), said
    assert not (work / "runs").exists()


@pytest.mark.parametrize("name", [name for name, file in MALFORMED.items() if file.mark])
def test_line_is_the_one_that_an_editor_shows(name: str) -> None:
    file = MALFORMED[name]
    assert file.line is not None
    assert file.mark in line_in_an_editor(file.content, file.line)


def test_only_files_without_lines_have_no_mark() -> None:
    unmarked = {name for name, file in MALFORMED.items() if file.line is not None and not file.mark}
    assert {name for name in unmarked if not name.endswith(PACKED)} == {"one-line.json", "utf-16.jsonl"}


def test_problem_says_field_and_reason(work: Path, toy_folder: Path) -> None:
    fields = {
        "mojibake.jsonl": "answer 1",
        "equal.jsonl": "rejected",
        "misspelt.jsonl": "mesages",
        "role.jsonl": "messages.1.role",
        "surrogate.jsonl": "messages",
        "number-as-language.jsonl": "language",
    }
    for name, field in fields.items():
        with pytest.raises(AdattaError) as caught:
            check_recipe(write(work, toy_folder, name, MALFORMED[name]))
        problem = caught.value.problems[0]
        assert (problem.reason, problem.field) == (MALFORMED[name].reason, field)


def test_every_reason_is_reached_but_the_one_that_is_a_defect() -> None:
    reached = {file.reason for file in MALFORMED.values()}
    assert reached | ELSEWHERE == set(REASONS) - {"unexpected"} - MEASURED
    assert not reached & (ELSEWHERE | MEASURED)


def test_every_shape_and_every_kind_of_file_is_among_them() -> None:
    shapes = set()
    for file in ROWS.values():
        kind, names = ROW_KIND[file.kind], file.settings.get("fields", {})
        rows = [parse_row(line, where="") for line in file.content.split(b"\n")]
        for row in (row for row in rows if isinstance(row, dict)):
            shapes.add(shape_row(row, kind, origin=Origin(path="", line=0), names=names).shape)
    assert shapes - {""} == set(load_shapes())
    kinds = {name.partition(".")[2] for name in MALFORMED}
    assert {
        "jsonl",
        "json",
        "csv",
        "tsv",
        "txt",
        "md",
        "parquet",
        "jsonl.gz",
        "jsonl.zst",
        "csv.zst",
    } <= kinds


@pytest.mark.parametrize(
    ("spec", "what"),
    [("part", "part/b.jsonl:2: "), ("part/*.jsonl", "part/b.jsonl:2: "), ("**/b.*", "b.jsonl:2: ")],
)
def test_file_of_a_folder_or_pattern_is_named(
    spec: str, what: str, work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "part").mkdir()
    (work / "part" / "a.jsonl").write_bytes(lines(good("sft", 0)))
    (work / "part" / "b.jsonl").write_bytes(lines(good("sft", 1), b"{broken"))
    (work / "part" / "README.md").write_bytes(b"\xff")
    assert call("check", str(write_recipe(work, toy_folder, "sft", spec))) == 2
    assert what in capsys.readouterr().err


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere.jsonl")


FILES_OF_NO_USE = {
    "pipe.jsonl": (os.mkfifo, "not a file but a pipe, socket or device"),
    "empty": (os.mkdir, "no data file in this folder"),
    "folder.jsonl": (os.mkdir, "no data file in this folder"),
    "nothing.jsonl": (_dangling, "nothing.jsonl"),
}


@pytest.mark.parametrize("name", FILES_OF_NO_USE)
def test_what_is_no_file_is_named(
    name: str, work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, what = FILES_OF_NO_USE[name]
    make(work / name)
    assert call("check", str(write_recipe(work, toy_folder, "sft", name))) == 2
    said = capsys.readouterr().err
    assert what in said
    assert "Traceback" not in said


@pytest.mark.parametrize("spec", ["missing.jsonl", "*.parquet"])
def test_missing_file_is_told_at_the_line_of_the_recipe(
    spec: str, work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("check", str(write_recipe(work, toy_folder, "sft", spec))) == 2
    assert re.search(
        rf"recipe\.yaml:1: stages\.0\.sft\.data\.0\.path: .*{re.escape(spec)}", capsys.readouterr().err
    )


def test_row_that_the_template_refuses_is_named(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = work / "model"
    shutil.copytree(toy_folder, model)
    template = model / "chat_template.jinja"
    refusal = "{% if messages|length > 5 %}{{ raise_exception('too many turns') }}{% endif %}"
    template.write_text(refusal + template.read_text(encoding="utf-8"), encoding="utf-8")
    turns = [(role, f"Parte {number}.") for number in range(3) for role in ("user", "assistant")]
    (work / "a.jsonl").write_bytes(lines(good("sft", 0), talk(*turns), good("sft", 1)))
    assert call("check", str(write_recipe(work, model, "sft", "a.jsonl"))) == 2
    told = capsys.readouterr().err
    assert f"{work / 'a.jsonl'}:2: " in told
    assert "too many turns" in told
    assert re.search(r"\btemplate\b", told)


def test_row_that_holds_an_item_of_a_suite_is_named(
    work: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_suite(work / "bundled", num_items=8, num_chars=1000)
    monkeypatch.setattr(suite, "bundled_dir", lambda: work / "bundled")
    questions = work / "bundled" / "data" / "evaluation" / "test" / "questions_it.jsonl"
    item = json.loads(questions.read_text(encoding="utf-8").splitlines()[0])
    row = {"prompt": item["question"], "completion": f"Direi: {item['options'][item['answer']]}."}
    (work / "a.jsonl").write_bytes(lines(good("sft", 0), row, good("sft", 1)))
    recipe = write_recipe(work, toy_folder, "sft", "a.jsonl", suites=["offline"])
    assert call("check", str(recipe)) == 2
    told = capsys.readouterr().err
    assert f"{work / 'a.jsonl'}:2: exact match with offline/" in told or "a.jsonl:2: exact match" in told
    with pytest.raises(AdattaError) as caught:
        open_context(recipe, ())
    assert [problem.reason for problem in caught.value.problems] == ["leak"]


def test_row_that_nearly_repeats_another_is_told_as_a_warning(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(f"parola{number} e virgola" for number in range(60))
    rows = [{"prompt": "Che cosa c'è da dire?", "completion": one} for one in (text, text.upper() + "!")]
    (work / "a.jsonl").write_bytes(lines(good("sft", 0), *rows))
    recipe = write_recipe(work, toy_folder, "sft", "a.jsonl", context=4096)
    assert load_recipe(recipe).recipe.on_bad_row == "error"
    assert call("check", str(recipe)) == 0
    told = capsys.readouterr().out
    assert f"{work / 'a.jsonl'}:3 has nearly the same content as {work / 'a.jsonl'}:2" in told
