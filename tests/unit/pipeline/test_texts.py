"""Texts of a user: which rows are read from which file, what is told of wrong ones, how results look."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from adatta.core.errors import DataError, RowError
from adatta.evals.classify import Classified, measure_agreement
from adatta.pipeline.texts import agreement_lines, check_out, read_texts, write_results

CSV = 'recensione;voto\n"È bello; davvero";positivo\n"È brutto";negativo\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.csv.gz"])
def test_column_of_a_table_with_its_right_labels(folder: Path, name: str, mark: str) -> None:
    data = (mark + CSV).encode()
    Path(name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    texts, gold = read_texts(
        Path(name), "recensione", gold_column="voto", labels=["positivo", "negativo", "neutro"]
    )
    assert texts == {f"{name}:2": "È bello; davvero", f"{name}:3": "È brutto"}
    assert gold == ["positivo", "negativo"]


def test_labels_that_are_numbers_are_compared_as_written(folder: Path) -> None:
    Path("a.jsonl").write_text('{"text": "x", "y": 1}\n', encoding="utf-8")
    assert read_texts(Path("a.jsonl"), "text", gold_column="y", labels=["0", "1"])[1] == ["1"]


def test_rows_of_one_line_are_all_there(folder: Path) -> None:
    Path("a.json").write_text('[{"text": "a"}, {"text": "b"}, {"text": "a"}]', encoding="utf-8")
    assert list(read_texts(Path("a.json"), "text")[0].values()) == ["a", "b", "a"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_lines_of_a_file_and_of_the_input_are_texts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    data = f"Così è\n\nCosà{ending}".encode()
    Path("a.md").write_bytes(data)
    type_in(monkeypatch, data)
    for file, name in ((Path("a.md"), "a.md"), (None, "standard input")):
        texts = {f"{name}:1": "Così è", f"{name}:2": "", f"{name}:3": "Cosà"}
        assert read_texts(file, "text") == (texts, [])


def test_json_lines_from_the_input_and_from_any_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, b'{"prompt": "x"}\n')
    Path("a.txt").write_bytes(b'{"prompt": "y"}\n')
    assert read_texts(None, "prompt", jsonl=True)[0] == {"standard input:1": "x"}
    assert read_texts(Path("a.txt"), "prompt", jsonl=True)[0] == {"a.txt:1": "y"}


MISTAKES = {
    "missing file": (None, "a.csv: can't be read: No such file or directory"),
    "a folder": ("folder", "a.csv: can't be read: Is a directory"),
    "missing column": ("testo,voto\nx,a\n", "a.csv:2: no column 'text'; there are: 'testo', 'voto'"),
    "no header": ("Bello\nBrutto\n", "a.csv:2: no column 'text'; there are: 'Bello'"),
    "unknown labels": (
        "text,voto\nx,a\ny,c\nz,d\n",
        "a.csv:3: unknown label 'c'\n    the labels are: a, b\na.csv:4",
    ),
    "bad encoding": ("text,voto\ncittà,a\n".encode("latin-1"), "a.csv:2: bytes that are no UTF-8"),
    "nothing": ("", "a.csv: empty file"),
    "only a header": ("text,voto\n", "a.csv: empty file"),
    "broken table": ("text,voto\nx,a,b\n", "a.csv:2: 3 fields, the header has 2"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_in_a_file_is_told_with_its_place(folder: Path, mistake: str) -> None:
    content, message = MISTAKES[mistake]
    if content == "folder":
        Path("a.csv").mkdir()
    elif content is not None:
        Path("a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read_texts(Path("a.csv"), "text", gold_column="voto", labels=["a", "b"])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "standard input: nothing in it"), (b"x\n\xff\n", "standard input:2: bytes that are no UTF-8")],
)
def test_mistake_in_the_input_is_told(monkeypatch: pytest.MonkeyPatch, data: bytes, message: str) -> None:
    type_in(monkeypatch, data)
    with pytest.raises(DataError) as error:
        read_texts(None, "text")
    assert message in str(error.value)


def test_what_is_no_text_is_told(folder: Path) -> None:
    Path("a.jsonl").write_text('{"text": 3}\n', encoding="utf-8")
    with pytest.raises(RowError, match=r"a\.jsonl:1: 'text' is 3, no text"):
        read_texts(Path("a.jsonl"), "text")


def test_who_types_is_told_how_to_end(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    type_in(monkeypatch, b"x\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    read_texts(None, "text")
    assert capsys.readouterr().err == "reading what you type; Ctrl-D ends it\n"


@pytest.mark.parametrize("name", ["a.xlsx", "nowhere/a.csv", "file/a.csv", "folder.csv"])
def test_file_that_can_t_be_written_is_refused(folder: Path, name: str) -> None:
    Path("file").touch()
    Path("folder.csv").mkdir()
    with pytest.raises(DataError, match=f"{name}: can't be written"):
        check_out(Path(name))


def test_file_that_can_be_written_is_left_alone(folder: Path) -> None:
    Path("a.csv").write_text("x", encoding="utf-8")
    check_out(Path("a.csv"))
    check_out(Path("b.jsonl"))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.csv": "x"}


FOUND = [Classified(("a",), {"a": 0.75, "b, c": 0.25}), Classified(("a", "b, c"), {"a": 0.5, "b, c": 2 / 3})]
TEXTS = ['Disse: "sì"', "Due\nrighe"]


def test_results_as_a_table_are_read_back(folder: Path) -> None:
    write_results(TEXTS, FOUND, out=Path("o.csv"))
    with Path("o.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["text", "labels", "p(a)", "p(b, c)"]
    assert rows[1:] == [[TEXTS[0], "a", "0.75", "0.25"], [TEXTS[1], "a; b, c", "0.5", "0.666667"]]


def test_results_as_lines_are_the_same_in_a_file_and_printed(folder: Path, capsys) -> None:
    write_results(TEXTS, FOUND, out=Path("o.jsonl"))
    assert capsys.readouterr().out == "wrote o.jsonl\n"
    write_results(TEXTS, FOUND, out=None)
    printed = capsys.readouterr().out
    assert printed == Path("o.jsonl").read_text(encoding="utf-8")
    second = {"text": TEXTS[1], "labels": ["a", "b, c"], "probabilities": {"a": 0.5, "b, c": 0.666667}}
    assert json.loads(printed.splitlines()[1]) == second


def test_agreement_is_shown_as_a_table() -> None:
    lines = "\n".join(agreement_lines(measure_agreement(["sì", "sì", "no"], ["sì", "no", "no"])))
    assert lines.startswith("n = 3, 95% intervals\naccuracy   0.667 [0.208, 0.939]\nmacro_f1   0.667 [")
    table = ["right | found      sì      no  recall", "sì                  1       1  0.500 [0.095, 0.905]"]
    assert lines.splitlines()[4:6] == table
    one = "\n".join(agreement_lines(measure_agreement(["sì"], ["sì"])))
    assert "macro_f1   1.000 (no interval)" in one
