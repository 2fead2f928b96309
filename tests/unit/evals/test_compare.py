"""Comparisons of models whose differences are known."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from adatta.core.errors import EvalError
from adatta.core.records import Score
from adatta.evals import compare as module
from adatta.evals import statistics
from adatta.evals.compare import compare
from adatta.evals.suite import Metric


def make_scores(stage, values, *, task="pairs_it", metric="accuracy", language="it", **fields):
    """Give one score an item; with `num_bytes`, the values are bits."""
    num_bytes = fields.pop("num_bytes", None)
    return [
        Score(
            model_fingerprint=stage,
            stage=stage,
            suite="offline",
            suite_version=1,
            task=task,
            language=language,
            item_id=f"{number:016x}",
            item_hash=f"{number:064x}",
            cluster_id=f"{number:016x}",
            metric=metric,
            status="scored",
            score=value / num_bytes[number] if num_bytes else value,
            num_bytes=num_bytes[number] if num_bytes else None,
            prompt_hash=f"{number:08x}",
            **fields,
        )
        for number, value in enumerate(values)
    ]


def text_scores(stage, bits, num_bytes, *, language="it"):
    task = f"text_{language}"
    return make_scores(stage, bits, task=task, metric="bits_per_byte", language=language, num_bytes=num_bytes)


def one(scores, base_stage="base", stages=("sft",)):
    entries = compare(scores, base_stage=base_stage, stages=stages)
    assert len(entries) == 1
    return entries[0]


BASE = [1.0] * 24 + [0.0] * 16
BETTER = [1.0] * 23 + [0.0] + [1.0] * 9 + [0.0] * 7


def test_shares_have_wilson_intervals_and_the_exact_test():
    entry = one([*make_scores("base", BASE), *make_scores("sft", BETTER)])
    assert entry["n"] == entry["clusters"] == entry["difference"]["n"] == 40
    assert entry["base"] == {"value": 0.6, "ci95": list(statistics.wilson(24, 40))}
    assert entry["adapted"] == {"value": 0.8, "ci95": list(statistics.wilson(32, 40))}
    deltas = [a - b for a, b in zip(BETTER, BASE, strict=True)]
    error = math.sqrt(sum((d - 0.2) ** 2 for d in deltas) / 39 / 40)
    assert entry["difference"]["value"] == pytest.approx(0.2)
    assert entry["difference"]["ci95"] == pytest.approx(
        [0.2 - 2.0227 * error, 0.2 + 2.0227 * error], abs=1e-4
    )
    assert entry["difference"]["p"] == pytest.approx(22 / 1024)  # 1 lost, 9 won
    assert entry["stages"] == {"sft": {**entry["adapted"], "difference": entry["difference"]}}


def test_many_discordant_items_are_tested_exactly():
    base, sft = [1.0] * 30 + [0.0] * 50, [0.0] * 30 + [1.0] * 50
    assert one([*make_scores("base", base), *make_scores("sft", sft)])["difference"]["p"] == pytest.approx(
        statistics.mcnemar(30, 50), rel=1e-12
    )


def test_base_against_itself_differs_by_nothing():
    num_bytes = list(range(100, 125))
    bits = [random.Random(3).uniform(100, 300) for _ in num_bytes]
    for scores in (
        [*make_scores("base", BASE), *make_scores("sft", BASE)],
        [*text_scores("base", bits, num_bytes), *text_scores("sft", bits, num_bytes)],
    ):
        entry = one(scores)
        nothing = {"value": 0.0, "ci95": [0.0, 0.0], "p": 1.0, "p_holm": 1.0, "n": entry["n"]}
        discordant = {"discordant": 0.0} if entry["unit"] == "share" else {}
        assert entry["difference"] == nothing | discordant
        assert entry["base"] == entry["adapted"]


def test_ties_are_tested_by_sign_flips():
    base, sft = [0.25] * 40, [0.25] * 34 + [1.0] * 6
    entry = one([*make_scores("base", base), *make_scores("sft", sft)])
    assert entry["base"]["value"] == 0.25
    assert entry["difference"]["p"] == pytest.approx(2 / 64)


def test_bits_per_byte_are_pooled_and_paired():
    num_bytes = [10, 20]
    entry = one([*text_scores("base", [20 / math.log(2), 30 / math.log(2)], num_bytes),
                 *text_scores("sft", [19 / math.log(2), 28 / math.log(2)], num_bytes)])  # fmt: skip
    assert entry["base"]["value"] == pytest.approx(2.4045, abs=6e-5)
    assert entry["difference"]["value"] == pytest.approx(-3 / 30 / math.log(2))
    low, high = entry["difference"]["ci95"]
    assert low == pytest.approx(high)  # both fell by 0.1 nats a byte
    assert low <= high
    assert not entry["higher_is_better"]
    assert entry["unit"] == "bits/byte"


def test_paired_interval_of_bits_is_narrower_than_the_models_own():
    rng = random.Random(5)
    num_bytes = [rng.randrange(300, 900) for _ in range(25)]
    bits = [rng.uniform(1.5, 2.5) * size for size in num_bytes]
    fewer = [value - rng.uniform(0.05, 0.15) * size for value, size in zip(bits, num_bytes, strict=True)]
    entry = one([*text_scores("base", bits, num_bytes), *text_scores("sft", fewer, num_bytes)])
    low, high = entry["difference"]["ci95"]
    assert low < entry["difference"]["value"] < high < 0
    base_low, base_high = entry["base"]["ci95"]
    assert high - low < (base_high - base_low) / 4
    assert entry["difference"]["p"] == pytest.approx(1 / 10_000)


def test_only_items_scored_by_both_count_in_a_difference():
    sft = make_scores("sft", BETTER)
    sft[0] = replace(sft[0], status="unscored", score=None, reason="longer than the context")
    sft[1] = replace(sft[1], status="failed", score=None, reason="a log-prob is not a finite number")
    dpo = make_scores("dpo", BETTER)
    dpo[0] = replace(dpo[0], status="unscored", score=None, reason="longer than the context")
    entry = one([*make_scores("base", BASE), *dpo, *sft], stages=("dpo", "sft"))
    assert entry["n"] == entry["difference"]["n"] == 38
    assert entry["difference"]["value"] == pytest.approx(8 / 38)
    assert entry["stages"]["dpo"]["difference"]["n"] == 39
    assert entry["adapted"]["value"] == pytest.approx(30 / 38)
    assert entry["unscored"] == {"a log-prob is not a finite number": 1, "longer than the context": 1}


def test_model_without_any_scored_item_is_an_error():
    failed = [replace(s, status="failed", score=None, reason="broken") for s in make_scores("sft", BASE)]
    with pytest.raises(EvalError, match=r"sft has no scored item \(broken\)"):
        compare([*make_scores("base", BASE), *failed], base_stage="base", stages=["sft"])


def test_secondary_metric_that_judges_nothing_has_no_value_but_its_reasons():
    both = [make_scores(stage, BASE, metric="language_fidelity_sure") for stage in ("base", "sft")]
    sft = [replace(score, status="unscored", score=None, reason="too short to tell") for score in both[1]]
    for base, adapted, known in ((both[0], sft, 0.6), (sft, both[1], None)):
        renamed = [replace(score, stage="base") for score in base]
        entry = one([*renamed, *[replace(score, stage="sft") for score in adapted]])
        assert entry["base"]["value"] == known
        assert (entry["adapted"]["value"] is None) == (known is not None)
        assert (entry["difference"], entry["n"]) == (None, 0)
        assert entry["unscored"] == {"too short to tell": 40}
        missing = entry["adapted"] if known else entry["base"]
        assert missing == {"value": None, "ci95": None}


def test_no_common_item_leaves_no_difference():
    base, sft = make_scores("base", [1.0, 0.0]), make_scores("sft", [1.0, 0.0])
    base[0] = replace(base[0], status="failed", score=None, reason="x")
    sft[1] = replace(sft[1], status="failed", score=None, reason="x")
    entry = one([*base, *sft])
    assert entry["difference"] is None
    assert entry["n"] == 0


def test_other_prompts_in_the_table_are_refused():
    sft = [replace(score, prompt_hash="other") for score in make_scores("sft", BASE)]
    with pytest.raises(EvalError, match="different prompts"):
        compare([*make_scores("base", BASE), *sft], base_stage="base", stages=["sft"])


@pytest.mark.parametrize("change", [{"item_hash": "other"}, {"suite_version": 2}, {"num_bytes": 3}])
def test_other_items_are_refused(change):
    sft = [replace(score, **change) for score in text_scores("sft", [1.0] * 4, [5] * 4)]
    with pytest.raises(EvalError, match="different items"):
        compare([*text_scores("base", [1.0] * 4, [5] * 4), *sft], base_stage="base", stages=["sft"])


def test_missing_rows_stages_and_tasks_are_refused():
    base, sft = make_scores("base", BASE), make_scores("sft", BASE)
    with pytest.raises(EvalError, match="different items"):
        compare([*base, *sft[1:]], base_stage="base", stages=["sft"])
    with pytest.raises(EvalError, match="no scores of dpo; there are: base, sft"):
        compare([*base, *sft], base_stage="base", stages=["dpo"])
    with pytest.raises(EvalError, match="sft has no bits_per_byte of text_it"):
        compare([*base, *sft, *text_scores("base", [1.0], [5])], base_stage="base", stages=["sft"])
    with pytest.raises(EvalError, match="two scores"):
        compare([*base, *base], base_stage="base", stages=[])
    with pytest.raises(EvalError, match="has a metric f1"):
        compare(make_scores("base", BASE, metric="f1"), base_stage="base", stages=[])


def answers(stage, values, **fields):
    return make_scores(stage, values, task="prompts_it", metric="language_fidelity", **fields)


def test_controls_stand_beside_with_their_own_prompts():
    control = [replace(score, prompt_hash="shot") for score in answers("control-1-shot", BASE[::-1])]
    scores = [*answers("base", [0.0] * 40), *control, *answers("sft", BETTER), *make_scores("base", BASE),
              *make_scores("sft", BASE)]  # fmt: skip
    fidelity, accuracy = compare(scores, base_stage="base", stages=["sft"])
    assert list(fidelity["stages"]) == ["sft", "control-1-shot"]
    assert fidelity["adapted"]["value"] == 0.8
    assert fidelity["stages"]["control-1-shot"]["difference"]["p_holm"] is None
    assert list(accuracy["stages"]) == ["sft"]
    against_control = one(scores, base_stage="control-1-shot")
    assert against_control["difference"]["value"] == pytest.approx(0.2)
    assert against_control["difference"]["p_holm"] is None
    assert against_control["base"]["value"] == 0.6


def test_model_alone_has_no_adapted_and_no_difference():
    entry = one(make_scores("base", BASE), stages=())
    assert entry["adapted"] is None
    assert entry["difference"] is None
    assert entry["stages"] == {}
    assert entry["n"] == 40


def test_holm_adjusts_primary_metrics_of_one_language():
    half = [1.0] * 34 + [0.0] * 6
    scores = []
    for stage, values in (("base", [0.0] * 6 + [1.0] * 34), ("sft", [1.0] * 40)):
        scores += make_scores(stage, values)  # p = 2/64
        scores += make_scores(stage, values, task="questions_it")  # p = 2/64
        scores += make_scores(stage, values, task="questions_it", metric="accuracy_sum")  # secondary
        scores += text_scores(stage, half if stage == "base" else [1.0] * 40, [1] * 40, language="en")
    entries = {(e["task"], e["metric"]): e for e in compare(scores, base_stage="base", stages=["sft"])}
    p_holm = {key: entry["difference"]["p_holm"] for key, entry in entries.items()}
    assert p_holm == {
        ("pairs_it", "accuracy"): pytest.approx(4 / 64),
        ("questions_it", "accuracy"): pytest.approx(4 / 64),
        ("questions_it", "accuracy_sum"): None,
        ("text_en", "bits_per_byte"): pytest.approx(2 / 64),
    }
    assert entries["pairs_it", "accuracy"]["difference"]["p"] == pytest.approx(2 / 64)


def test_items_in_clusters_widen_the_interval_and_flip_together():
    def clustered(scores):
        return [replace(score, cluster_id=str(number // 4)) for number, score in enumerate(scores)]

    entry = one([*clustered(make_scores("base", BASE)), *clustered(make_scores("sft", BETTER))])
    alone = one([*make_scores("base", BASE), *make_scores("sft", BETTER)])
    assert entry["clusters"] == 10
    width, width_alone = (e["base"]["ci95"][1] - e["base"]["ci95"][0] for e in (entry, alone))
    assert width > 1.5 * width_alone
    expected = statistics.paired_difference(BASE, BETTER, clusters=[n // 4 for n in range(40)]).interval
    assert entry["difference"]["ci95"] == pytest.approx(expected)
    assert entry["difference"]["ci95"] != pytest.approx(alone["difference"]["ci95"])
    deltas = [a - b for a, b in zip(BETTER, BASE, strict=True)]
    sums = [sum(deltas[start : start + 4]) for start in range(0, 40, 4)]
    assert entry["difference"]["p"] == pytest.approx(statistics.sign_flip(sums))
    assert entry["difference"]["p"] > alone["difference"]["p"]


@pytest.mark.parametrize(("num_items", "has_interval"), [(29, False), (30, True)])
def test_mean_of_few_items_claims_no_interval(monkeypatch, num_items, has_interval):
    metric = Metric(name="f1", unit="points", higher_is_better=True, primary=True, kind="mean")
    monkeypatch.setattr(module, "_find_metric", lambda *of: metric)
    values = [float(number % 5) for number in range(num_items)]
    entry = one([*make_scores("base", values), *make_scores("sft", values[::-1])])
    for figure in (entry["base"], entry["adapted"], entry["difference"]):
        assert (figure["ci95"] is not None) == has_interval


def test_interval_of_shares_stays_within_bounds():
    entry = one([*make_scores("base", [0.0, 0.0, 0.0]), *make_scores("sft", [1.0, 1.0, 0.0])])
    assert entry["difference"]["ci95"][1] == 1.0
    assert entry["base"]["ci95"][0] == 0.0


def test_each_kind_of_item_is_described_by_itself():
    kinds = ["clitics"] * 10 + ["agreement"] * 30
    scores = [
        replace(score, group=kind)
        for stage, values in (("base", BASE), ("sft", BETTER))
        for score, kind in zip(make_scores(stage, values), kinds, strict=True)
    ]
    scores[0] = replace(scores[0], status="unscored", score=None, reason="longer than the context")
    groups = one(scores)["groups"]
    assert {
        name: {model: figure["n"] for model, figure in kind.items()} for name, kind in groups.items()
    } == {
        "agreement": {"base": 30, "sft": 30},
        "clitics": {"base": 9, "sft": 10},
    }
    assert groups["agreement"]["sft"]["value"] == pytest.approx(sum(BETTER[10:]) / 30)
    assert groups["agreement"]["sft"]["ci95"] == list(statistics.wilson(sum(BETTER[10:]), 30))
    assert one(make_scores("base", BASE) + make_scores("sft", BETTER))["groups"] == {}


def test_control_without_room_for_its_examples_has_no_figure_and_is_counted():
    too_long = [
        replace(score, status="unscored", score=None, reason="longer than the context")
        for score in make_scores("control-3-shot", BASE)
    ]
    entry = one([*make_scores("base", BASE), *make_scores("sft", BETTER), *too_long])
    assert list(entry["stages"]) == ["sft"]
    assert entry["unscored"] == {"longer than the context": 40}


def test_documents_of_a_cluster_are_drawn_together():
    bits = [[10.0, 11.0] * 20, [9.0, 8.0] * 20]
    scores = [
        score
        for stage, values in zip(("base", "sft"), bits, strict=True)
        for score in text_scores(stage, values, [5] * 40)
    ]
    apart = one(scores)["difference"]
    clustered = [replace(score, cluster_id=f"{int(score.item_id, 16) % 4}") for score in scores]
    entry = one(clustered)
    assert (entry["n"], entry["clusters"]) == (40, 4)
    together = entry["difference"]
    assert together["value"] == pytest.approx(apart["value"])
    assert together["ci95"][1] - together["ci95"][0] > 2 * (apart["ci95"][1] - apart["ci95"][0])


def test_the_share_of_items_on_which_two_models_differ():
    assert one([*make_scores("base", [1.0, 0.0, 1.0, 0.0]), *make_scores("sft", [0.0, 0.0, 1.0, 1.0])])[
        "difference"
    ]["discordant"] == pytest.approx(0.5)


def test_a_benchmark_that_failed_for_one_model_stands_in_the_table_without_a_figure():
    def scores(stage, task):
        rows = make_scores(stage, [1.0, 0.0, 1.0, 0.0])
        return [replace(row, suite="italian", task=task, metric="acc") for row in rows]

    given = [*scores("base", "xcopa_it"), *scores("sft", "xcopa_it"), *scores("base", "belebele_it")]
    whole, lost = compare(given, base_stage="base", stages=["sft"])
    assert whole["difference"]["value"] == 0.0
    assert (lost["base"]["value"], lost["adapted"]["value"], lost["difference"]) == (0.5, None, None)
    assert lost["unscored"] == {"the task failed for this model": 4}


def without_template(scores):
    fault = {"status": "unscored", "reason": "no chat template", "score": None}
    return [replace(score, **fault) for score in scores]


def test_base_without_template_makes_a_figure_that_decides_nothing():
    scores = [*without_template(make_scores("base", BASE)), *make_scores("sft", BETTER)]
    entry = one(scores)
    assert entry["base"] == {"value": None, "ci95": None, "not_run": "no chat template"}
    assert (entry["primary"], entry["n"], entry["difference"]) == (False, 0, None)
    assert entry["stages"]["sft"]["value"] == 0.8
    assert entry["unscored"] == {"no chat template": 40}


def test_adapted_without_template_leaves_its_figure_primary():
    entry = one([*make_scores("base", BASE), *without_template(make_scores("sft", BETTER))])
    assert entry["adapted"] == {"value": None, "ci95": None, "not_run": "no chat template"}
    assert (entry["primary"], entry["difference"]) == (True, None)


def test_other_reasons_are_not_taken_for_a_missing_template():
    broken = without_template(make_scores("sft", BETTER))
    broken[0] = replace(broken[0], reason="longer than the context")
    with pytest.raises(EvalError, match="no scored item"):
        one([*make_scores("base", BASE), *broken])


def test_family_of_holm_leaves_out_what_was_not_run():
    asked = [make_scores(stage, values) for stage, values in (("base", BASE), ("sft", BETTER))]
    other = [
        make_scores(stage, values, task="preferences_it")
        for stage, values in (("base", BASE), ("sft", BETTER))
    ]
    both = compare([*asked[0], *asked[1], *other[0], *other[1]], base_stage="base", stages=["sft"])
    assert both[0]["difference"]["p_holm"] == pytest.approx(2 * both[0]["difference"]["p"])
    left = compare(
        [*asked[0], *asked[1], *without_template(other[0]), *other[1]], base_stage="base", stages=["sft"]
    )
    assert left[0]["difference"]["p_holm"] == left[0]["difference"]["p"]


def test_figure_that_was_to_be_measured_stays_in_the_family_of_holm():
    asked = [make_scores(stage, values) for stage, values in (("base", BASE), ("sft", BETTER))]
    lost = without_template(make_scores("sft", BETTER, task="preferences_it"))
    scores = [*asked[0], *asked[1], *make_scores("base", BASE, task="preferences_it"), *lost]
    found, missing = compare(scores, base_stage="base", stages=["sft"])
    assert found["difference"]["p_holm"] == pytest.approx(2 * found["difference"]["p"])
    assert (missing["primary"], missing["difference"]) == (True, None)


def benchmark(stage, values, groups, metric="acc_by_group", suite="english"):
    rows = make_scores(stage, values, task="mmlu", metric=metric, language="en")
    return [replace(row, suite=suite, group=group) for row, group in zip(rows, groups, strict=True)]


def test_the_plain_mean_over_subjects_weighs_each_alike_and_not_its_items():
    groups = ["storia"] * 30 + ["fisica"] * 10
    base, better = [1.0] * 15 + [0.0] * 15 + [0.0] * 10, [1.0] * 15 + [0.0] * 15 + [1.0] * 4 + [0.0] * 6
    items = [*benchmark("base", base, groups, "acc"), *benchmark("sft", better, groups, "acc")]
    entries = compare(
        [*items, *benchmark("base", base, groups), *benchmark("sft", better, groups)],
        base_stage="base",
        stages=["sft"],
    )
    acc, plain = entries
    assert (acc["primary"], plain["primary"]) == (True, False)
    assert (acc["base"]["value"], plain["base"]["value"]) == (15 / 40, (0.5 + 0.0) / 2)
    assert plain["difference"]["value"] == pytest.approx(0.2)
    variances = [0.0, 10 / 9 * 0.4 * 0.6]
    error = math.sqrt(variances[0] / 30 + variances[1] / 10) / 2
    ends = [0.2 - 1.959964 * error, 0.2 + 1.959964 * error]
    assert plain["difference"]["ci95"] == pytest.approx(ends, abs=1e-6)
    assert plain["difference"]["p"] == acc["difference"]["p"] == 2 / 16  # four of one sign
    assert set(acc["groups"]) == {"storia", "fisica"}
    assert plain["groups"] == {}
    assert "discordant" not in plain["difference"]


def test_a_gain_in_a_small_subject_counts_more_than_a_loss_in_a_large_one():
    groups = ["storia"] * 60 + ["fisica"] * 12
    base, other = [1.0] * 60 + [0.0] * 12, [0.0] * 6 + [1.0] * 54 + [1.0] * 6 + [0.0] * 6
    entry = one([*benchmark("base", base, groups), *benchmark("sft", other, groups)])
    assert entry["difference"]["value"] == pytest.approx((0.5 - 0.1) / 2)
    even = one([*benchmark("base", base, groups, "acc"), *benchmark("sft", other, groups, "acc")])
    assert even["difference"]["value"] == 0.0
    assert entry["difference"]["p"] < even["difference"]["p"] == 1.0


def test_the_first_metric_of_a_users_benchmark_is_its_primary_one():
    groups = ["x"] * 4
    rows = benchmark("base", [1.0, 0.0, 1.0, 0.0], groups, "acc_norm", suite="mele")
    rows += benchmark("base", [1.0, 0.0, 0.0, 0.0], groups, "acc", suite="mele")
    entries = compare(rows, base_stage="base", stages=[])
    assert [(entry["metric"], entry["primary"]) for entry in entries] == [("acc_norm", True), ("acc", False)]


def test_a_metric_that_no_task_of_ours_has_is_told():
    with pytest.raises(EvalError, match="no task has a metric gone"):
        compare(make_scores("base", BASE, metric="gone"), base_stage="base", stages=[])
