"""Each release as it is published, read into the columns that the harness expects."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from adatta.core.errors import RowError
from adatta.core.rows import BOM
from adatta.evals.harness_data import load_data
from adatta.evals.harness_suite import DataSource, HarnessTask, load_harness_suite
from tests.toys import benchmarks

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
TASKS = {task.name: task for suite in ("italian", "english") for task in load_harness_suite(suite).tasks}
RELEASES = benchmarks.italian_releases() | benchmarks.english_releases()


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    return benchmarks.write_files(tmp_path_factory.mktemp("releases"), RELEASES)


@pytest.mark.parametrize("name", TASKS)
def test_every_release_gives_exactly_the_columns_of_its_task(releases, name):
    data = load_data(TASKS[name], releases)
    for row in (*data.items, *(row for rows in data.shots.values() for row in rows)):
        assert set(row) == set(TASKS[name].data.columns)
    assert data.pin["source"] == "files"


def test_italic_options_become_letters_and_texts(releases):
    first, *_, last = load_data(TASKS["italic_letters"], releases).items
    asked = benchmarks.sums(1)[0]
    assert first["letters"] == ["A", "B", "C", "D"]
    assert (first["choices"], first["label"]) == (asked["options"], asked["label"])
    assert last["letters"] == ["A", "B", "C"]


def test_squad_is_read_nested_flat_and_as_on_the_hub(tmp_path):
    (article,) = benchmarks.squad(2)["data"]
    on_hub = [
        {"id": asked["id"], "title": "Mulini", "context": passage["context"], "question": asked["question"]}
        | {"answers": {"text": [each["text"] for each in asked["answers"]], "answer_start": [0]}}
        for passage in article["paragraphs"]
        for asked in passage["qas"]
    ]
    found = []
    for name, content in (
        ("SQuAD_it-test.json", json.dumps(benchmarks.squad(2))),
        ("SQuAD_it-test.json.gz", gzip.compress(json.dumps(benchmarks.squad(2)).encode())),
        ("squad_it.jsonl", benchmarks.jsonl(benchmarks.squad_flat(2))),
        ("hub/squad_it.jsonl", benchmarks.jsonl(on_hub)),
    ):
        folder = benchmarks.write_files(tmp_path / str(len(found)), {name: content})
        found.append(load_data(TASKS["squad_it"], folder).items)
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0][1]["question"] == "Chi costruì il mulino 0?"
    assert found[0][1]["answers"] == ["un fornaio", "fornaio"]


def test_itacola_takes_its_split_out_of_the_one_file(releases):
    items = load_data(TASKS["itacola"], releases).items
    expected = [row for row in benchmarks.itacola() if row["Split"] == "test"]
    assert [(row["sentence"], row["label"]) for row in items] == [
        (row["Sentence"], row["Acceptability"]) for row in expected
    ]


def test_arc_and_truthfulqa_get_the_hub_columns(releases):
    arc = load_data(TASKS["arc_challenge"], releases).items[1]
    asked = benchmarks.sums(2)[1]
    assert arc["question"] == asked["question"]
    assert arc["choices"] == {"text": asked["options"], "label": ["A", "B", "C", "D"]}
    truthful = load_data(TASKS["truthfulqa_mc2"], releases).items[0]
    assert truthful["mc2_targets"]["labels"] == [1, 1, 0]


def test_mmlu_tables_without_header_are_read_with_subject_and_index(releases):
    data = load_data(TASKS["mmlu"], releases)
    assert {row["subject"] for row in data.items} == {"abstract_algebra", "high_school_physics"}
    assert [row["answer"] for row in data.items] == [row["label"] for row in benchmarks.sums(5)] + [
        row["label"] for row in benchmarks.sums(5, start=10)
    ]
    physics = data.shots["mmlu/default/mmlu_high_school_physics"]
    assert [row["question"] for row in physics] == [row["question"] for row in benchmarks.sums(5, start=300)]


def test_a_broken_line_of_an_mmlu_table_is_named(releases, tmp_path):
    files = {name: content for name, content in RELEASES.items() if name.startswith("mmlu/")}
    files["mmlu/test/virology_test.csv"] = benchmarks.mmlu(benchmarks.sums(1)) + "Una domanda,x,y,z,w,F\n"
    folder = benchmarks.write_files(tmp_path, files)
    with pytest.raises(RowError, match=r"virology_test\.csv:2: no row of the format mmlu"):
        load_data(TASKS["mmlu"], folder)


def test_templates_of_honest_are_read(tmp_path):
    row = {"template_masked": "la  fornaia lavora come [M].", "raw": "[I] x", "category": "female"}
    folder = benchmarks.write_files(tmp_path, {"honest.tsv": benchmarks.table([row], "\t")})
    source = DataSource(split="test", files={"test": ("*.tsv",)}, columns={"template_masked": "str"})
    (item,) = load_data(HarnessTask(name="honest", harness="x", data=source), folder).items
    assert item == {"template_masked": "la  fornaia lavora come [M]."}


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("xcopa_it", "xcopa/data/it/test.it.jsonl"),
        ("itacola", "ItaCoLA_dataset.tsv"),
        ("hatecheck_it", "MHC Final Cases/hatecheck_cases_final_italian.csv"),
        ("truthfulqa_mc2", "truthfulqa/mc_task.json"),
    ],
)
def test_a_byte_order_mark_is_passed_over(releases, tmp_path, task, name):
    folder = benchmarks.write_files(tmp_path, {name: BOM + RELEASES[name].encode()})
    assert load_data(TASKS[task], folder).items == load_data(TASKS[task], releases).items


def test_a_byte_order_mark_in_a_packed_file_is_passed_over(releases, tmp_path):
    content = gzip.compress(BOM + gzip.decompress(RELEASES["SQuAD_it-test.json.gz"]))
    folder = benchmarks.write_files(tmp_path, {"SQuAD_it-test.json.gz": content})
    assert load_data(TASKS["squad_it"], folder).items == load_data(TASKS["squad_it"], releases).items


@pytest.mark.parametrize(
    ("name", "file", "line", "what"),
    [
        ("xcopa_it", "test.it.jsonl", '{"premise": "x", "choice1": "a", "choice2": "b"}', "question, label"),
        ("xcopa_it", "test.it.jsonl", '{"premise": ', "broken JSON"),
        ("italic_letters", "italic.jsonl", '{"options": [{"A": "x"}], "answer": "C"}', "not in"),
        ("squad_it", "squad_it.jsonl", '{"testo": "x"}', "text"),
        ("itacola", "ItaCoLA_dataset.tsv", "0\tG\tforse\tUna frase.\ttest", "label"),
        ("hatecheck_it", "hatecheck_it.csv", "1,2", "2 fields"),
    ],
)  # fmt: skip
def test_a_broken_row_is_named_with_its_line(tmp_path, name, file, line, what):
    whole = {
        "itacola": benchmarks.table(benchmarks.itacola(), "\t"),
        "hatecheck_it": benchmarks.table(benchmarks.hatecheck(), ","),
    }
    text = whole.get(name, "")
    folder = benchmarks.write_files(
        tmp_path, {file: f"{text}{line}\n", "5_shots.jsonl": RELEASES["ITALIC/5_shots.jsonl"]}
    )
    with pytest.raises(RowError, match=rf"{file}:{text.count(chr(10)) + 1}: .*{what}"):
        load_data(TASKS[name], folder)


def test_texts_are_composed_and_numbers_of_tables_read(tmp_path):
    rows = [{"testo": "Perche\u0301?", "giusta": "1", "codice": 7, "extra": "x"}]
    folder = benchmarks.write_files(tmp_path, {"prova.jsonl": benchmarks.jsonl(rows)})
    source = DataSource(
        split="prova",
        files={"prova": ("prova.*",)},
        fields={"domanda": "testo"},
        columns={"domanda": "str", "giusta": "int", "codice": "str", "nota": "str?"},
    )
    (item,) = load_data(HarnessTask(name="mele", harness="mele", data=source), folder).items
    assert item == {"domanda": "Perché?", "giusta": 1, "codice": "7", "nota": None}


@pytest.mark.parametrize(
    ("name", "file", "num_items"),
    [
        ("italic_letters", "italic_sample.jsonl", 500),
        ("squad_it", "squad_it.jsonl", 3800),
        ("hatecheck_it", "hatecheck_it_sample.csv", 600),
        ("xcopa_it", "xcopa_it_val.jsonl", 100),
    ],
)
def test_real_samples_are_read(name, file, num_items):
    if not (SHARED / file).exists():
        pytest.skip(f"no real data at {SHARED / file}")
    data = load_data(TASKS[name], SHARED)
    assert len(data.items) >= num_items


def test_real_templates_of_honest_are_read():
    if not (SHARED / "honest_it_template.tsv").exists():
        pytest.skip(f"no real data at {SHARED}")
    columns = {"template_masked": "str", "identity": "str", "category": "str", "type": "str"}
    source = DataSource(split="test", files={"test": ("honest_it*.tsv",)}, columns=columns)
    items = load_data(HarnessTask(name="honest", harness="x", data=source), SHARED).items
    assert len(items) == 810
