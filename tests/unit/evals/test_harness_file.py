"""A user's own benchmarks: read from one file, mistakes told with its name, their definition hashed."""

from __future__ import annotations

import pytest

from adatta.core.errors import DataError, RecipeError
from adatta.core.fingerprint import hash_file
from adatta.evals.ask import Subject
from adatta.evals.harness_data import LOCK, read_lock, write_lock
from adatta.evals.harness_file import is_suite_file, open_suite
from adatta.evals.harness_run import load_benchmarks, run_benchmarks
from adatta.evals.harness_suite import load_harness_suite
from tests.toys import benchmarks

pytestmark = pytest.mark.torch

TASK = """
language: it
tasks:
  - name: mele
    data:
      split: prova
      files: {prova: ["prova.csv"], esempi: ["esempi.csv"]}
      fields: {domanda: testo}
      columns: {domanda: str, giusta: int}
    question: [domanda]
    shots: {count: 2, split: esempi, rule: smallest-hash}
    metric: acc
    licence: mia
    settings:
      output_type: multiple_choice
      doc_to_text: "{{domanda}}"
      doc_to_choice: ["sì", "no"]
      doc_to_target: giusta
      metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
SEVERAL = """
name: frutta
version: 3
language: it
protocols: [chat]
tasks:
  - name: cause
    harness: xcopa/xcopa_it
    data: {split: test, files: {test: ["*.jsonl"]}}
    metric: acc
    settings: {description: Leggi bene.}
  - name: pere
    data: {hub: ANNA/pere, config: nuove, split: test}
    metric: "brevi,ultima"
    metrics: ["exact_match,ultima", "brevi,ultima"]
    settings: {output_type: generate_until, doc_to_text: "{{domanda}}", doc_to_target: risposta}
"""


@pytest.fixture
def write(tmp_path):
    def write_suite(text, name="frutta.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_suite


def test_a_file_is_a_suite_called_as_it(write):
    suite = open_suite(write(TASK))
    (task,) = suite.tasks
    assert (suite.name, suite.version, suite.language, suite.protocols) == ("frutta", 1, "it", ())
    assert (task.name, task.harness, task.data.split, task.licence) == ("mele", "mele", "prova", "mia")
    assert task.data.fields == {"domanda": "testo"}
    assert task.settings["doc_to_text"] == "{{domanda}}"


def test_a_file_says_how_it_is_asked_and_which_metric_is_primary(write):
    suite = open_suite(write(SEVERAL))
    assert (suite.name, suite.version, suite.protocols) == ("frutta", 3, ("chat",))
    cause, pere = suite.tasks
    assert (cause.harness, cause.metrics) == ("xcopa/xcopa_it", ("acc",))
    assert (pere.data.hub, pere.data.config, pere.data.files) == ("ANNA/pere", "nuove", {})
    assert pere.metrics == ("brevi,ultima", "exact_match,ultima")


def test_a_task_of_the_harness_can_be_changed(write, tmp_path):
    suite = open_suite(write(SEVERAL))
    suite = suite.model_copy(update={"tasks": suite.tasks[:1]})
    benchmarks.write_files(tmp_path, {"cause.jsonl": benchmarks.jsonl(benchmarks.xcopa(3))})
    lm = benchmarks.FakeLM()
    subject = Subject(stage="base", model_fingerprint="abc", opening=())
    _, (entry,) = run_benchmarks(lm, load_benchmarks(suite), subject=subject)
    assert entry["status"] == "run"
    assert {request.args[0].startswith("Leggi bene.") for request in lm.asked} == {True}
    assert " quindi" in lm.asked[0].args[0] + lm.asked[2].args[0]


def test_ours_are_opened_by_name():
    assert open_suite("quick-italian") == load_harness_suite("quick-italian")
    with pytest.raises(RecipeError, match=r"unknown suite 'nulla\.yaml'"):
        open_suite("nulla.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TASK.replace("licence: mia", "chance: viel"), "tasks.0.chance is 'viel' (text); expected a number"),
        (
            TASK.replace("columns:", "columms:"),
            "unknown key 'columms' in tasks.0.data; did you mean 'columns'?",
        ),
        (
            TASK.replace("doc_to_text", "doc_to_test"),
            "'doc_to_test' in settings; did you mean 'doc_to_text'?",
        ),
        (TASK.replace("language: it", ""), "missing key 'language'"),
        (TASK.replace("metric: acc\n", "\n"), "tasks.0.metric is empty; expected text"),
        (TASK.replace("question: [domanda]", "question: [testo]"), "columns have no testo"),
        (TASK.replace("higher_is_better: true", "higher_is_better: false"), "acc is better when lower"),
        (TASK.replace("giusta: int", "giusta: bool"), "tasks.0.data.columns.giusta is 'bool' (text)"),
        (TASK.replace("name: mele", "name: xcopa_it"), "a suite or task of ours is called xcopa_it"),
        (TASK.replace("name: mele", "name: me le"), "tasks.0.name is 'me le' (text)"),
        (TASK + "      process_docs: !function nulla.prepara\n", "nulla"),
        ("- una lista\n", "no suite: Expected YAML dict"),
        ("tasks: [\n", "no suite: while parsing"),
        ("language: it\n", "tasks is a list; expected a list with at least one entry"),
        ("tasks: {a: 1}\nlanguage: it\n", "no suite"),
    ],
)
def test_a_mistake_names_its_file(write, text, said):
    path = write(text)
    with pytest.raises(RecipeError) as caught:
        open_suite(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_name_of_a_suite_of_ours_is_taken(write):
    with pytest.raises(RecipeError, match="a suite or task of ours is called offline"):
        open_suite(write(TASK, "offline.yaml"))


def test_only_yaml_files_that_are_there_are_suites(tmp_path):
    for name in ("a.yaml", "a.yml", "a.txt"):
        (tmp_path / name).write_text(TASK, encoding="utf-8")
    assert is_suite_file(str(tmp_path / "a.yaml"))
    assert not any(is_suite_file(str(tmp_path / name)) for name in ("a.yml", "a.txt", "b.yaml", "italian"))


ROWS = [{"testo": f"Il numero {n} è pari?", "giusta": str(n % 2)} for n in range(9)]


def write_data(folder):
    return benchmarks.write_files(
        folder,
        {"prova.csv": benchmarks.table(ROWS[:6], ","), "esempi.csv": benchmarks.table(ROWS[6:], ";")},
    )


def test_data_lie_beside_the_file_and_the_lock_has_its_hash(write, tmp_path):
    path = write(TASK)
    write_data(tmp_path)
    found = load_benchmarks(open_suite(path), folder=tmp_path, data_dir=tmp_path / "elsewhere")
    (data,) = found.found()
    assert len(data.items) == 6
    assert {row["domanda"] for row in data.shots["mele"]} < {row["testo"] for row in ROWS[6:]}
    write_lock(tmp_path, found.found())
    lock = read_lock(tmp_path)
    assert lock["mele"]["suite_file"] == hash_file(tmp_path / "frutta.yaml")
    assert lock["mele"]["source"] == "files"
    assert (tmp_path / LOCK).exists()


def test_what_is_asked_is_the_definition_and_all_of_it_the_suite(write, tmp_path):
    write_data(tmp_path)
    texts = (
        TASK,
        TASK.replace("mia", "tua"),
        TASK.replace('"{{domanda}}"', '"{{domanda}} Dimmi:"'),
        TASK + "      process_results: !function conta.conta\n",
    )
    (tmp_path / "conta.py").write_text("def conta(doc, results):\n    return {}\n", encoding="utf-8")
    suites = [open_suite(write(text)) for text in texts]
    definitions = [suite.tasks[0].definition for suite in suites]
    assert definitions[0] == definitions[1]
    assert len(set(definitions)) == 3
    hashes = [load_benchmarks(suite).content_hash() for suite in suites]
    assert len(set(hashes)) == 4
    (tmp_path / "conta.py").write_text("def conta(doc, results):\n    return {'acc': 1}\n", encoding="utf-8")
    assert open_suite(write(texts[3])).tasks[0].definition not in definitions


def test_a_file_that_asks_otherwise_than_at_first_is_refused(write, tmp_path):
    write_data(tmp_path)
    found = load_benchmarks(open_suite(write(TASK)), folder=tmp_path)
    write_lock(tmp_path, found.found())
    load_benchmarks(open_suite(write(TASK.replace("mia", "tua"))), folder=tmp_path)
    changed = open_suite(write(TASK.replace("sì", "certo")))
    with pytest.raises(DataError, match=r"mele: .* at first, now"):
        load_benchmarks(changed, folder=tmp_path)
