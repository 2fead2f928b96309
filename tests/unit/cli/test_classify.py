"""`adatta classify` on a toy: a text, a table, lines; what is compared and written; each mistake is told."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

import adatta
from tests.toys.command import call

pytestmark = pytest.mark.torch
LABELS = ("--label", "positivo", "--label", "negativo")
TABLE = "testo,voto\nChe bel mare!,positivo\nChe brutto mare.,negativo\nIl mare.,positivo\n"


@pytest.fixture(autouse=True)
def _table(work: Path) -> None:
    (work / "a.csv").write_text(TABLE, encoding="utf-8")


@pytest.fixture(scope="module")
def found(toy_folder: Path) -> list[dict]:
    """What Python gives for the texts of the table, as lines."""
    texts = [line.partition(",")[0] for line in TABLE.splitlines()[1:]]
    with adatta.load(str(toy_folder)) as model:
        results = model.classify(texts, ["positivo", "negativo"])
    return [
        {
            "text": text,
            "labels": list(each.labels),
            "probabilities": pytest.approx(each.probabilities, abs=1e-6),
        }
        for text, each in zip(texts, results, strict=True)
    ]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_text_a_table_and_lines_give_the_same(
    toy_folder: Path, found: list[dict], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("classify", str(toy_folder), found[0]["text"], *LABELS) == 0
    assert lines(capsys) == found[:1]
    assert call("classify", str(toy_folder), *LABELS, "--file", "a.csv", "--column", "testo") == 0
    assert lines(capsys) == found
    typed = "".join(f"{each['text']}\n" for each in found)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
    assert call("classify", str(toy_folder), *LABELS) == 0
    assert lines(capsys) == found


def test_evaluation_is_printed_and_results_go_to_the_file(
    work: Path, toy_folder: Path, found: list[dict], capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*LABELS, "--file", "a.csv", "--column", "testo", "--evaluate", "voto")
    assert call("classify", str(toy_folder), *given) == 0
    shown = capsys.readouterr().out
    right = sum(
        each["labels"] == [line.split(",")[1]]
        for each, line in zip(found, TABLE.splitlines()[1:], strict=True)
    )
    assert f"n = 3, 95% intervals\naccuracy   {right / 3:.3f} [" in shown
    assert "{" not in shown
    assert call("classify", str(toy_folder), *given, "--out", "o.jsonl") == 0
    assert capsys.readouterr().out == shown + "wrote o.jsonl\n"
    written = (work / "o.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in written] == found


def test_every_option_changes_the_result(toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path("ten.txt")).write_text("".join(f"Il mare {number}\n" for number in range(10)), encoding="utf-8")
    results = []
    for options in (
        (),
        ("--calibration", "none"),
        ("--calibration", "batch"),
        ("--template", "{text} È {label}"),
        ("--language", "en"),
        ("--several",),
        ("--several", "--threshold", "0.01"),
        ("--label", "neutro"),
        ("--label", "neutro=né l'uno né l'altro"),
    ):
        assert call("classify", str(toy_folder), *LABELS, "--file", "ten.txt", *options) == 0
        results.append(capsys.readouterr().out)
    assert len(set(results)) == len(results)


MISTAKES = {
    "no label": (("x",), "labels given: none"),
    "one label": (("x", "--label", "a"), "labels given: 'a'; expected 2 or more"),
    "a label twice": (("x", *LABELS, "--label", "positivo"), "all different"),
    "missing file": ((*LABELS, "--file", "b.csv"), r"b\.csv: can't be read: No such file"),
    "missing column": (
        (*LABELS, "--file", "a.csv"),
        r"a\.csv:2: no column 'text'; there are: 'testo', 'voto'",
    ),
    "empty text": ((" ", *LABELS), "the text: an empty text"),
    "text too long": (
        ("parola " * 500, *LABELS),
        r"the text: \d+ tokens with the question, the model takes 512",
    ),
    "bad encoding": ((*LABELS, "--file", "latin.txt"), r"latin\.txt:1: bytes that are no UTF-8"),
    "table without header": ((*LABELS, "--file", "headless.csv"), "there are: 'Bello', '1'"),
    "unknown right label": (
        ("--label", "a", "--label", "b", "--file", "a.csv", "--column", "testo", "--evaluate", "voto"),
        r"a\.csv:2: unknown label 'positivo'\n    the labels are: a, b",
    ),
    "output that can't be written": (
        ("x", *LABELS, "--out", "nowhere/o.csv"),
        "nowhere/o.csv: can't be written",
    ),
    "unknown language": (("x", *LABELS, "--language", "xx"), "language 'xx' has no profile"),
    "unknown calibration": (("x", *LABELS, "--calibration", "y"), "expected content-free, batch, none"),
    "small batch": (("x", *LABELS, "--calibration", "batch"), "needs 10 texts, 1 given"),
    "text and file": (("x", *LABELS, "--file", "a.csv"), "expected a text, or a file"),
    "several and evaluate": ((*LABELS, "--several", "--evaluate", "voto"), "leave --several out"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message_and_code_2(
    mistake: str, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("latin.txt").write_bytes("città\n".encode("latin-1"))
    Path("headless.csv").write_text("Bello,1\nBrutto,0\n", encoding="utf-8")
    arguments, message = MISTAKES[mistake]
    assert call("classify", str(toy_folder), *arguments) == 2
    out, err = capsys.readouterr()
    assert re.search(message, err), err
    assert err.startswith("adatta: ")
    assert "Traceback" not in err + out
    assert not out


def test_model_that_isn_t_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("classify", "nowhere.gguf", "x", *LABELS) == 2
    assert "nowhere.gguf" in capsys.readouterr().err
