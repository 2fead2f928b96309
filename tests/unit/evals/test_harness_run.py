"""Suites through the harness: what degenerate backends must get, what becomes of faults, what is recorded."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import pytest
from lm_eval.evaluator import evaluate

from adatta.core.errors import DataError
from adatta.core.fingerprint import content_id
from adatta.evals import harness_run
from adatta.evals.ask import Subject
from adatta.evals.backend import ForestLM
from adatta.evals.compare import compare
from adatta.evals.harness_data import load_data, write_lock
from adatta.evals.harness_file import open_suite
from adatta.evals.harness_run import load_benchmarks, run_benchmarks, run_task
from adatta.evals.harness_suite import load_harness_suite
from tests.toys import benchmarks
from tests.toys.benchmarks import FakeLM

pytestmark = pytest.mark.torch

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
SUBJECT = Subject(stage="base", model_fingerprint="abc", opening=())
ITALIAN, ENGLISH = load_harness_suite("italian"), load_harness_suite("english")
GENERATED = ("squad_it", "gsm8k")
# Of each task of choices, where the right one stands, told from its rows and not by the harness.
GOLD = {
    "arc_it": lambda doc: "ABCDE".index(doc["answer"]),
    "hellaswag_it": lambda doc: int(doc["label"]),
    "m_mmlu_it": lambda doc: "ABCD".index(doc["answer"]),
    "italic_letters": lambda doc: doc["label"],
    "italic_texts": lambda doc: doc["label"],
    "evalita_te": lambda doc: ["SI", "NO"].index(doc["entailment"]),
    "evalita_sa": lambda doc: ["10", "01", "00", "11"].index(doc["opos"] + doc["oneg"]),
    "evalita_wic": lambda doc: doc["label"],
    "evalita_hs": lambda doc: doc["hs"],
    "evalita_at": lambda doc: "ABCDE".index(doc["Correct"]),
    "evalita_faq": lambda doc: "ABCD".index(doc["correct_answer"]),
    "itacola": lambda doc: 1 - doc["label"],
    "hatecheck_it": lambda doc: ["non-hateful", "hateful"].index(doc["label_gold"]),
    "xcopa_it": lambda doc: doc["label"],
    "belebele_it": lambda doc: int(doc["correct_answer_num"]) - 1,
    "include_it": lambda doc: doc["answer"],
    "multiblimp_it": lambda doc: 0,
    "global_piqa_it": lambda doc: doc["label"],
    "truthfulqa_it_mc1": lambda doc: 0,
    "arc_challenge_mt_it": lambda doc: doc["choices"]["label"].index(doc["answerKey"]),
    "global_mmlu_it": lambda doc: "ABCD".index(doc["answer"]),
    "mela_it": lambda doc: 1 - doc["label"],
    "arc_challenge": lambda doc: doc["choices"]["label"].index(doc["answerKey"]),
    "hellaswag": lambda doc: int(doc["label"]),
    "mmlu": lambda doc: doc["answer"],
    "winogrande": lambda doc: int(doc["answer"]) - 1,
}


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases")
    return benchmarks.write_files(folder, benchmarks.italian_releases() | benchmarks.english_releases())


@pytest.fixture(scope="module")
def forest(toy_folder):
    return ForestLM(str(toy_folder), device="cpu", max_length=2048)


def only(suite, *names):
    return suite.model_copy(update={"tasks": tuple(task for task in suite.tasks if task.name in names)})


def run(lm, suite, releases, folder, **options):
    limit = options.pop("limit", None)
    asked = load_benchmarks(suite, folder=folder, data_dir=releases, limit=limit)
    write_lock(folder, asked.found())
    return run_benchmarks(lm, asked, subject=SUBJECT, **options)


def means(scores):
    """The mean of each task's metric over its scored items."""
    values = defaultdict(list)
    for score in scores:
        values[score.task, score.metric].append(score.score)
    return {key: sum(found) / len(found) for key, found in values.items() if None not in found}


def right(request):
    return GOLD[request.task_name](request.doc)


def by_task(suite, log_prob):
    """A function of the request that knows the name that a task has with us."""
    names = {}
    for task in suite.tasks:
        _, _, name = task.harness.rpartition("/")
        names[name.partition("_{")[0]] = task.name

    def judge(request):
        (name,) = {ours for theirs, ours in names.items() if request.task_name.startswith(theirs)}
        return log_prob(name, request)

    return judge


@pytest.mark.parametrize("suite", [ITALIAN, ENGLISH], ids=["italian", "english"])
def test_every_task_runs_and_an_oracle_gets_all_of_it(suite, releases, tmp_path):
    choices = only(suite, *GOLD)
    lm = FakeLM(
        by_task(choices, lambda name, request: 0.0 if request.idx == GOLD[name](request.doc) else -100.0)
    )
    scores, record = run(lm, choices, releases, tmp_path)
    assert {entry["task"]: entry["status"] for entry in record} == dict.fromkeys(
        (t.name for t in choices.tasks), "run"
    )
    assert {task for task, _ in means(scores)} == {task.name for task in choices.tasks}
    assert set(means(scores).values()) == {1.0}
    assert {score.status for score in scores} == {"scored"}


@pytest.mark.parametrize("suite", [ITALIAN, ENGLISH], ids=["italian", "english"])
def test_an_anti_oracle_gets_nothing(suite, releases, tmp_path):
    choices = only(suite, *GOLD)
    lm = FakeLM(
        by_task(choices, lambda name, request: -100.0 if request.idx == GOLD[name](request.doc) else 0.0)
    )
    scores, _ = run(lm, choices, releases, tmp_path)
    assert set(means(scores).values()) == {0.0}


@pytest.mark.parametrize("suite", [ITALIAN, ENGLISH], ids=["italian", "english"])
def test_constant_log_probs_get_one_kth_with_ties_counted(suite, releases, tmp_path):
    choices = only(suite, *GOLD)
    lm = FakeLM()
    scores, record = run(lm, choices, releases, tmp_path)
    num_options = defaultdict(dict)
    for request in lm.asked:
        num_options[request.task_name].setdefault(content_id(request.doc["adatta_row"]), []).append(request)
    for score in scores:
        if score.metric == "acc_ties":
            assert 1 / score.score in (2, 3, 4, 5)
    for entry in record:
        assert entry["counts"]["tied"] == entry["counts"]["items"] > 0
    found = means(scores)
    if suite is ITALIAN:
        assert (
            found["multiblimp_it", "acc"] == 1.0
        )  # the first of equals is taken, and the right one is first
        assert found["multiblimp_it", "acc_ties"] == found["xcopa_it", "acc_ties"] == 0.5
        assert found["italic_letters", "acc_ties"] == pytest.approx((8 / 4 + 4 / 3) / 12)


def test_a_uniform_model_over_bytes_takes_the_shortest_and_a_longest_one_the_longest(releases, tmp_path):
    suite = only(ITALIAN, "arc_it", "italic_texts")
    bits = math.log(256)
    uniform = FakeLM(lambda request: -bits * len(request.args[1].encode()))
    longest = FakeLM(lambda request: float(len(request.args[1])))
    short, long = (means(run(lm, suite, releases, tmp_path)[0]) for lm in (uniform, longest))
    asked = benchmarks.sums(8)
    expected = [
        sum(row["options"].index(pick(row["options"], key=len)) == row["label"] for row in asked) / len(asked)
        for pick in (min, max)
    ]
    assert [found["arc_it", "acc"] for found in (short, long)] == expected == [1.0, 0.0]


def test_always_the_letter_a_gets_the_share_of_a(releases, tmp_path):
    suite = only(ITALIAN, "italic_letters", "belebele_it", "m_mmlu_it", "evalita_at")
    lm = FakeLM(lambda request: 0.0 if request.args[1].strip() == "A" else -5.0)
    found = means(run(lm, suite, releases, tmp_path)[0])
    share = sum(row["label"] == 0 for row in benchmarks.sums(8)) / 8
    assert found["belebele_it", "acc"] == found["m_mmlu_it", "acc"] == found["evalita_at", "acc"] == share
    threes = [row["label"] == 0 for row in benchmarks.sums(4, start=20, num_options=3)]
    assert found["italic_letters", "acc"] == (8 * share + sum(threes)) / 12


def test_labels_of_corpus_metrics_stand_beside_each_item(releases, tmp_path):
    hateful = FakeLM(lambda request: 0.0 if request.args[1].strip() == "sì" else -1.0)
    scores, _ = run(hateful, only(ITALIAN, "hatecheck_it", "itacola"), releases, tmp_path)
    labels = [(s.group, s.output, s.score) for s in scores if s.metric == "macro_f1"]
    assert labels == [("sì", "sì", 1.0)] * 7 + [("no", "sì", 0.0)] * 3
    assert means(scores)["hatecheck_it", "acc"] == 0.7
    assert {s.group for s in scores if s.task == "hatecheck_it" and s.metric == "acc"} == {
        "derog_0_h",
        "target_obj_nh",
    }
    kinds = {(s.group, s.output) for s in scores if s.metric == "mcc"}
    assert kinds == {("sì", "sì"), ("no", "sì")}


def test_silence_gets_nothing_and_right_answers_all(releases, tmp_path):
    suite = only(ITALIAN, "squad_it")
    silent = means(run(FakeLM(), suite, releases, tmp_path)[0])
    assert set(silent.values()) == {0.0}
    knowing = FakeLM(answer=lambda request: f" {request.doc['answers'][-1]}.")
    assert set(means(run(knowing, suite, releases, tmp_path)[0]).values()) == {1.0}


def test_answers_in_which_the_filter_finds_nothing_are_unscored(releases, tmp_path):
    def answer(request):
        number = request.doc["answer"].rpartition(" ")[2]
        return ("It is hard to say.", f" So {number}", f" #### {number}", " #### 999")[int(number) % 4]

    scores, _ = run(FakeLM(answer=answer), only(ENGLISH, "gsm8k"), releases, tmp_path)
    strict, flexible, lower = (
        [score for score in scores if score.metric == f"exact_match{name}"]
        for name in (",strict-match", ",flexible-extract", "_lower,strict-match")
    )
    assert [(s.status, s.score) for s in strict] == [
        ("unscored", None), ("scored", 1.0), ("scored", 0.0), ("unscored", None)
    ]  # fmt: skip
    assert {s.reason for s in strict if s.score is None} == {"no answer found in the output"}
    assert [s.status for s in flexible].count("unscored") == 1
    assert [s.score for s in flexible if s.status == "scored"] == [1.0, 1.0, 0.0]
    assert [(s.status, s.score) for s in lower] == [("scored", score) for score in (0.0, 1.0, 0.0, 0.0)]
    assert {s.output for s in strict} == {s.output for s in lower}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_log_probs_that_are_no_numbers_fail_their_item_alone(value, releases, tmp_path):
    lm = FakeLM(lambda request: value if request.doc["idx_of"] == 2 and request.idx else -1.0)
    lm.log_prob = lambda request: value if request.doc["adatta_row"] == 2 and request.idx else -1.0
    scores, _ = run(lm, only(ITALIAN, "xcopa_it"), releases, tmp_path)
    failed = [score for score in scores if score.status != "scored"]
    assert [(s.status, s.reason, s.score) for s in failed] == [
        ("failed", "a log-prob is not a finite number", None)
    ] * 2
    assert len({score.item_id for score in scores}) == 6


def test_a_task_that_cant_be_run_leaves_the_others(releases, tmp_path, monkeypatch):
    tasks = {task.name: task for task in ITALIAN.tasks}
    gone = tasks["xcopa_it"].model_copy(update={"name": "gone", "harness": "xcopa/xcopa_gone"})
    empty = tasks["xcopa_it"].model_copy(
        update={
            "name": "empty",
            "data": tasks["xcopa_it"].data.model_copy(update={"files": {"test": ("nulla.*",)}}),
        }
    )
    suite = ITALIAN.model_copy(update={"tasks": (gone, empty, tasks["squad_it"], tasks["itacola"])})

    def crash(requests):
        raise RuntimeError("out of\nmemory")

    lm = FakeLM()
    monkeypatch.setattr(lm, "generate_until", crash)
    scores, record = run(lm, suite, releases, tmp_path)
    assert [entry["status"] for entry in record] == ["failed", "not run", "failed", "run"]
    reasons = [entry.get("reason", "") for entry in record]
    assert "has no task xcopa/xcopa_gone" in reasons[0]
    assert "no file matches" in reasons[1]
    assert reasons[2] == "RuntimeError: out of memory"
    assert {score.task for score in scores} == {"itacola"}


def test_gold_answers_that_are_no_option_fail(releases, tmp_path):
    rows = benchmarks.lettered(benchmarks.sums(3), "instruction")
    rows[1]["answer"] = "F"
    folder = benchmarks.write_files(tmp_path, {"m_mmlu/it/test.jsonl": benchmarks.jsonl(rows)})
    benchmarks.write_files(
        folder, {"m_mmlu/it/train.jsonl": benchmarks.italian_releases()["m_mmlu/it/train.jsonl"]}
    )
    scores, _ = run(FakeLM(), only(ITALIAN, "m_mmlu_it"), folder, tmp_path)
    assert [s.status for s in scores if s.metric == "acc"] == ["scored", "failed", "scored"]


@pytest.mark.parametrize("suite", [ITALIAN, ENGLISH], ids=["italian", "english"])
def test_a_model_goes_through_every_release(suite, forest, releases, tmp_path):
    names = (
        (
            "arc_it",
            "truthfulqa_it_mc2",
            "global_mmlu_it",
            "italic_letters",
            "evalita_ner_adg",
            "mela_it",
            "squad_it",
        )
        if suite is ITALIAN
        else ("mmlu", "gsm8k", "winogrande", "truthfulqa_mc2")
    )
    scores, record = run(forest, only(suite, *names), releases, tmp_path)
    assert {entry["task"]: entry.get("reason") for entry in record} == dict.fromkeys(names)
    assert all(0 <= score.score <= 1 for score in scores if score.status == "scored")
    assert {score.status for score in scores} <= {"scored", "unscored"}
    assert {entry["engine"] for entry in record} == {forest.engine}


@pytest.mark.parametrize(
    "name", ["arc_it", "m_mmlu_it", "global_piqa_it", "winogrande", "truthfulqa_mc2", "squad_it", "gsm8k"]
)
def test_means_are_those_of_the_harness_own_loop(name, releases, tmp_path):
    def pseudo_random(request):
        return -1.0 - int(content_id([*map(str, request.args)]), 16) % 1000 / 100

    def answer(request):
        return ("nel 1500 un fornaio", "#### 12", "It costs 6.", "nulla")[
            int(content_id(request.args[0]), 16) % 4
        ]

    (suite,) = (suite for suite in (ITALIAN, ENGLISH) if any(task.name == name for task in suite.tasks))
    data = load_data(next(task for task in suite.tasks if task.name == name), releases)
    lm = FakeLM(pseudo_random, answer)
    scores, _ = run_task(lm, data, suite=suite, subject=SUBJECT)
    built = harness_run._build(
        data.task, data.task.harness, data.items, data.shots.get(data.task.harness, ())
    )
    options = {"bootstrap_iters": 0, "cache_requests": False}
    theirs = evaluate(lm, {"tasks": {built.task_name: built}}, **options)["results"][built.task_name]
    for metric in set(data.task.metrics) - {
        "acc_ties",
        "exact_match,strict-match",
        "exact_match,flexible-extract",
    }:
        found = [score.score for score in scores if score.metric == metric]
        key = metric.replace("_lower", "") if "," in metric else f"{metric},none"  # unparsed is wrong there
        assert sum(found) / len(found) == pytest.approx(theirs[key], abs=1e-12), metric


def test_the_same_model_gets_the_same_scores_again(forest, releases, tmp_path):
    suite = only(ITALIAN, "italic_texts", "xcopa_it")
    assert run(forest, suite, releases, tmp_path) == run(forest, suite, releases, tmp_path)


def test_chat_asks_by_the_template_with_a_turn_a_shot_under_another_name(forest, releases, tmp_path):
    suite = only(ITALIAN, "italic_letters")
    asked = []
    original = forest.loglikelihood

    def look(requests):
        asked.extend(requests)
        return original(requests)

    forest.loglikelihood = look
    try:
        (raw, raw_record), (chat, record) = (
            run(forest, suite, releases, tmp_path, protocol=protocol) for protocol in ("raw", "chat")
        )
    finally:
        del forest.loglikelihood
    assert {s.task for s in raw} == {"italic_letters"}
    assert {s.task for s in chat} == {"italic_letters (chat)"} == {entry["task"] for entry in record}
    assert {s.item_id for s in raw} == {s.item_id for s in chat}
    assert not {s.prompt_hash for s in raw} & {s.prompt_hash for s in chat}
    prompts = [request.args[0] for request in asked]
    assert prompts[0].count("Domanda:") == 6
    assert prompts[-1].count("<|im_start|>user") == 6
    assert (raw_record[0]["template_hash"], raw_record[0]["fewshot_as_multiturn"]) == (None, False)
    assert record[0]["fewshot_as_multiturn"]
    assert record[0]["template_hash"] == content_id(forest.chat_template(True))


def test_shots_stand_in_their_order_before_every_item(releases, tmp_path):
    lm = FakeLM()
    run(lm, only(ENGLISH, "mmlu"), releases, tmp_path)
    physics = [r.args[0] for r in lm.asked if r.task_name == "mmlu_high_school_physics"]
    expected = [row["question"] for row in benchmarks.sums(5, start=300)]
    for prompt in physics:
        places = [prompt.index(question) for question in expected]
        assert places == sorted(places)
    assert len({prompt.rpartition("\n\n")[0] for prompt in physics}) == 1


def test_what_was_cut_is_counted_and_named(toy_folder, releases, tmp_path):
    lm = ForestLM(str(toy_folder), device="cpu", max_length=100)
    _, (letters, xcopa) = run(lm, only(ITALIAN, "italic_letters", "xcopa_it"), releases, tmp_path)
    assert letters["counts"]["truncated"] > 0
    assert xcopa["counts"]["truncated"] == 0
    assert xcopa["cut"] == {}
    assert (letters["max_length"], letters["backend"]) == (100, "ForestLM")


def test_only_items_that_lost_ids_are_named(toy_folder, releases, tmp_path):
    suite = only(ITALIAN, "arc_it")
    asked = FakeLM()
    scores, (entry,) = run(asked, suite, releases, tmp_path)
    assert "cut" not in entry  # a backend that doesn't tell
    ids = list(dict.fromkeys(score.item_id for score in scores))
    lm = ForestLM(str(toy_folder), device="cpu", max_length=2048)
    longest = defaultdict(int)
    for request in asked.asked:
        length = sum(map(len, lm._encode_pair(*request.args)))
        item = ids[request.doc["adatta_row"]]
        longest[item] = max(longest[item], length)
    room = sorted(longest.values())[4]
    lm = ForestLM(str(toy_folder), device="cpu", max_length=room - 1)  # the last id is not read
    _, (entry,) = run(lm, suite, releases, tmp_path)
    assert entry["cut"] == {item: length - room for item, length in longest.items() if length > room}
    assert 0 < len(entry["cut"]) < len(ids)


def test_leaks_are_counted_over_what_is_scored(tmp_path):
    items = benchmarks.sums(8)
    train = [{**row, "option_d": "altro"} for row in benchmarks.lettered(items[:5], "instruction")]
    files = {
        "m_mmlu/it/test.jsonl": benchmarks.jsonl(benchmarks.lettered(items, "instruction")),
        "m_mmlu/it/train.jsonl": benchmarks.jsonl(train),
    }
    folder, suite = benchmarks.write_files(tmp_path / "r", files), only(ITALIAN, "m_mmlu_it")
    (all_of_them,) = run(FakeLM(), suite, folder, tmp_path)[1]
    scores, (few,) = run(FakeLM(), suite, folder, tmp_path, limit=3)
    asked = {score.item_id for score in scores}
    assert len(all_of_them["leaks"]) == 5
    assert few["leaks"] == [leak for leak in all_of_them["leaks"] if leak["item"] in asked]
    assert 0 < len(few["leaks"]) < 3


def test_the_configuration_of_every_part_is_in_its_hash(releases, tmp_path, monkeypatch):
    suite = only(ENGLISH, "mmlu")
    (before,) = run(FakeLM(), suite, releases, tmp_path)[1]
    build = harness_run._build
    for changed in ("mmlu_abstract_algebra", "mmlu_high_school_physics"):

        def build_other(task, part, rows, shots, changed=changed):
            built = build(task, part, rows, shots)
            if built.task_name == changed:
                built.config.description = "Other words."
            return built

        monkeypatch.setattr(harness_run, "_build", build_other)
        (entry,) = run(FakeLM(), suite, releases, tmp_path)[1]
        assert entry["config_hash"] != before["config_hash"], changed


def test_subjects_stand_with_each_score_for_their_plain_mean(releases, tmp_path):
    scores, _ = run(FakeLM(), only(ENGLISH, "mmlu"), releases, tmp_path)
    by_metric = defaultdict(list)
    for score in scores:
        by_metric[score.metric].append((score.item_id, score.group, score.score))
    assert by_metric["acc_by_group"] == by_metric["acc"]
    assert {group for _, group, _ in by_metric["acc"]} == {"abstract_algebra", "high_school_physics"}


def test_each_functionality_of_hatecheck_is_a_group_of_its_accuracy(tmp_path):
    files = {
        "hatecheck_cases_final_italian.csv": benchmarks.table(benchmarks.hatecheck(200, functions=26), ",")
    }
    folder = benchmarks.write_files(tmp_path / "r", files)
    hateful = FakeLM(lambda request: 0.0 if request.args[1].strip() == "sì" else -1.0)
    scores, _ = run(hateful, only(ITALIAN, "hatecheck_it"), folder, tmp_path)
    by_metric = {entry["metric"]: entry["groups"] for entry in compare(scores, base_stage="base", stages=())}
    assert len(by_metric["acc"]) == 27
    assert by_metric["acc"]["target_obj_nh"]["base"]["value"] == 0.0
    assert {
        figures["base"]["value"] for name, figures in by_metric["acc"].items() if name.endswith("_h")
    } == {1.0}
    assert sum(figures["base"]["n"] for figures in by_metric["acc"].values()) == 200


LISTS = (
    "evalita_ls",
    "evalita_ner_adg",
    "evalita_ner_fic",
    "evalita_ner_wn",
    "evalita_re",
    "evalita_sum_small",
)


def test_lists_and_summaries_are_measured_by_ours(releases, tmp_path):
    right = {
        "answers": lambda doc: " abitazione, dimora\nAltro",
        "entities": lambda doc: (
            ", ".join(f"{e['entity_text']}${e['type']}" for e in doc["entities"]) or "&&NOENT&&"
        ),
        "relations": lambda doc: "%".join(map("$".join, doc["relations"])) or "&&NOREL&&",
        "target": lambda doc: doc["target"].upper(),
    }

    def know(request):
        return next(write(request.doc) for key, write in right.items() if key in request.doc)

    scores, record = run(FakeLM(answer=know), only(ITALIAN, *LISTS), releases, tmp_path)
    assert [(entry["task"], entry["status"]) for entry in record] == [(name, "run") for name in LISTS]
    assert {score.score for score in scores} == {1.0}
    assert len(scores) == 18
    silent, _ = run(FakeLM(), only(ITALIAN, *LISTS), releases, tmp_path)
    assert {score.score for score in silent} == {0.0}


def test_reasoned_answers_come_from_their_last_sentence(releases, tmp_path):
    suite = only(ITALIAN, "mmlu_prox_lite_it")
    lm = FakeLM(answer=lambda r: f" Sette più {r.doc['adatta_row']}. La risposta è ({r.doc['answer']}).")
    found = means(run(lm, suite, releases, tmp_path)[0])
    assert set(found.values()) == {1.0}
    assert lm.asked[0].args[0].count("La risposta è (") == 6  # in the description and in five shots
    assert found.keys() == {
        ("mmlu_prox_lite_it", f"exact_match{kind},custom-extract") for kind in ("", "_lower")
    }


def test_a_limit_draws_items_by_their_hash_and_keeps_the_lock(releases, tmp_path):
    suite = only(ITALIAN, "arc_it", "hellaswag_it", "xcopa_it")
    whole, _ = run(FakeLM(), suite, releases, tmp_path)
    few, record = run(FakeLM(), suite, releases, tmp_path, limit=9)
    assert run(FakeLM(), suite.model_copy(update={"num_items": 9}), releases, tmp_path) == (few, record)
    assert [entry["counts"]["items"] for entry in record] == [3, 3, 3]
    assert {s.item_id for s in few} < {s.item_id for s in whole}


def test_the_record_says_what_decides_the_scores(releases, tmp_path):
    _, (entry,) = run(FakeLM(), only(ITALIAN, "m_mmlu_it"), releases, tmp_path)
    task = next(task for task in ITALIAN.tasks if task.name == "m_mmlu_it")
    assert entry["shots"] == {"count": 5, "split": "train", "rule": "first"}
    assert (entry["licence"], entry["origin"], entry["note"]) == (task.licence, task.origin, task.note)
    assert (entry["source"], entry["task_version"], entry["protocol"]) == ("files", 0.0, "raw")
    told = {"items": 8, "tied": 8, "dropped": 0, "rows": 8, "repeated": 0, "are_shots": 0}
    assert (entry["counts"], entry["num_rows"]) == (told, 13_237)
    assert entry["leaks"] == []
    again = run(FakeLM(), only(ITALIAN, "m_mmlu_it", "xcopa_it"), releases, tmp_path)[1]
    assert again[0]["config_hash"] == entry["config_hash"] != again[1]["config_hash"]
    assert len(entry["revision"]) == len(entry["content"]) == 16


def test_other_data_than_at_first_are_refused(releases, tmp_path):
    suite = only(ITALIAN, "xcopa_it")
    run(FakeLM(), suite, releases, tmp_path)
    other = benchmarks.write_files(
        tmp_path / "other", {"xcopa/data/it/test.it.jsonl": benchmarks.jsonl(benchmarks.xcopa(5))}
    )
    with pytest.raises(DataError, match=r"xcopa_it: .* at first, now"):
        run(FakeLM(), suite, other, tmp_path)


def test_real_samples_run(tmp_path):
    if not (SHARED / "italic_sample.jsonl").exists():
        pytest.skip(f"no real data at {SHARED}")
    lm = FakeLM(
        lambda request: -float(len(request.args[1].encode())), lambda request: request.doc["answers"][0]
    )
    names = ("italic_letters", "italic_texts", "squad_it", "hatecheck_it", "xcopa_it")
    scores, record = run(lm, only(ITALIAN, *names), SHARED, tmp_path, limit=200)
    assert [(entry["status"], entry["counts"]["items"]) for entry in record] == [("run", 40)] * 5
    assert {score.status for score in scores} == {"scored"}
    assert means(scores)["squad_it", "exact_match"] == 1.0


USERS_TASK = """
language: it
tasks:
  - name: pari
    data:
      split: test
      files: {test: ["dati/prova.csv"]}
      fields: {domanda: testo}
      columns: {domanda: str, giusta: int}
    metric: acc
    settings:
      output_type: multiple_choice
      doc_to_text: "{{domanda}}"
      doc_to_choice: ["sì", "no"]
      doc_to_target: giusta
      metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
PROCESS = """
def keep_even(dataset):
    return dataset.filter(lambda row: row["giusta"] == 0)

def drop_columns(dataset):
    return dataset.select_columns(["domanda", "giusta"])
"""


@pytest.mark.parametrize(
    ("process", "items", "reason"),
    [
        ("", ["Il numero 0 è pari?", "Il numero 1 è pari?", "Il numero 2 è pari?"], None),
        (
            "      process_docs: !function prepara.keep_even\n",
            ["Il numero 0 è pari?", "Il numero 2 è pari?"],
            None,
        ),
        ("      process_docs: !function prepara.drop_columns\n", [], "process_docs of pari drops columns"),
    ],
)
def test_a_users_task_runs_from_a_table(tmp_path, process, items, reason):
    rows = [{"testo": f"Il numero {n} è pari?", "giusta": str(n % 2)} for n in range(3)]
    folder = benchmarks.write_files(
        tmp_path,
        {
            "dati/prova.csv": benchmarks.table(rows, ";"),
            "pari.yaml": USERS_TASK + process,
            "prepara.py": PROCESS,
        },
    )
    suite = open_suite(str(folder / "pari.yaml"))
    lm = FakeLM(lambda request: 0.0 if request.idx == request.doc["giusta"] else -1.0)
    scores, (entry,) = run(lm, suite, None, tmp_path)
    assert (reason or "None") in str(entry.get("reason"))
    assert [(s.metric, s.score, s.output) for s in scores] == [
        ("acc", 1.0, "no" if "1" in text else "sì") for text in items
    ]
    expected = [(text, answer) for text in items[:1] for answer in (" sì", " no")]
    assert [request.args for request in lm.asked[:2]] == expected
    assert entry.get("counts", {}).get("dropped", 3) == 3 - len(items)


@pytest.mark.parametrize(("value", "score"), [("1 + 1e-9", 1.0), ("-1e-9", 0.0), ("7", None), ("-1", None)])
def test_numbers_outside_0_to_1_are_no_scores(tmp_path, value, score):
    own = USERS_TASK + "      process_results: !function misura.misura\n"
    rows = [{"testo": f"Il numero {n} è pari?", "giusta": str(n % 2)} for n in range(3)]
    code = f"def misura(doc, results):\n    return {{'acc': {value}}}\n"
    files = {"dati/prova.csv": benchmarks.table(rows, ","), "pari.yaml": own, "misura.py": code}
    suite = open_suite(str(benchmarks.write_files(tmp_path, files) / "pari.yaml"))
    scores, _ = run(FakeLM(), suite, None, tmp_path)
    reason = None if score is not None else "the harness gives no number from 0 to 1 for it"
    assert [(s.score, s.reason) for s in scores] == [(score, reason)] * 3


def test_other_words_of_a_users_task_are_another_prompt(tmp_path):
    rows = [{"testo": f"Il numero {n} è pari?", "giusta": str(n % 2)} for n in range(3)]
    hashes = []
    for text in (USERS_TASK, USERS_TASK.replace('["sì", "no"]', '["no", "sì"]')):
        files = {"dati/prova.csv": benchmarks.table(rows, ","), "pari.yaml": text}
        folder = benchmarks.write_files(tmp_path / str(len(hashes)), files)
        scores, _ = run(FakeLM(), open_suite(str(folder / "pari.yaml")), None, folder)
        hashes.append({s.item_id: s.prompt_hash for s in scores})
    assert hashes[0].keys() == hashes[1].keys()
    assert not set(hashes[0].values()) & set(hashes[1].values())


def test_the_primary_metric_comes_first_in_the_scores(releases, tmp_path):
    scores, _ = run(FakeLM(), only(ITALIAN, "arc_it"), releases, tmp_path)
    assert [s.metric for s in scores[:3]] == ["acc_norm", "acc", "acc_ties"]


def test_scores_name_item_cluster_and_prompt(releases, tmp_path):
    scores, _ = run(FakeLM(), only(ITALIAN, "squad_it", "hatecheck_it"), releases, tmp_path)
    squad = [score for score in scores if score.metric == "f1"]
    assert len({s.item_id for s in squad}) == 6
    assert len({s.cluster_id for s in squad}) == 3
    first = squad[0]
    assert (first.suite, first.suite_version, first.language) == ("italian", ITALIAN.version, "it")
    assert (first.stage, first.model_fingerprint) == ("base", "abc")
    assert (len(first.item_hash), len(first.prompt_hash)) == (64, 16)
    assert first.item_hash.startswith(first.item_id)
