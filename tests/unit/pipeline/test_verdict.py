"""The verdict: by paired intervals alone, worse as plainly as better, nothing claimed without one."""

from __future__ import annotations

import pytest

from adatta.pipeline.verdict import describe, find_direction, judge, name_metric
from tests.unit.pipeline.made_up_run import entry, figure, make_metrics


def measured(change, half, **more):
    """An accuracy of 0.5 that changed by `change`, give or take `half`."""
    stages = {"sft": figure(0.5 + change, 0.1, (change, half), more.pop("p", 0.01))}
    return entry("questions_it", "accuracy", base=figure(0.5, 0.1), stages=stages, n=60, **more)


@pytest.mark.parametrize(
    ("interval", "higher_is_better", "direction"),
    [
        ([0.01, 0.2], True, "better"),
        ([0.01, 0.2], False, "worse"),
        ([-0.2, -0.01], True, "worse"),
        ([-0.2, -0.01], False, "better"),
        ([-0.01, 0.2], True, "undecided"),
        ([0.0, 0.2], True, "undecided"),
        ([-0.2, 0.0], False, "undecided"),
        ([0.0, 0.0], True, "undecided"),
        (None, True, "missing"),
        ([0.2, -0.2], True, "missing"),
        ([float("nan"), 0.2], True, "missing"),
    ],
)
def test_direction_needs_an_interval_that_excludes_zero(interval, higher_is_better, direction):
    difference = {"value": 0.1, "ci95": interval}
    assert find_direction({"higher_is_better": higher_is_better, "margin": None}, difference) == direction


@pytest.mark.parametrize(
    ("interval", "higher_is_better", "direction"),
    [
        ([-0.019, 0.3], True, "held"),
        ([-0.02, 0.3], True, "undecided"),
        ([-0.3, 0.019], False, "held"),
        ([-0.3, 0.02], False, "undecided"),
        ([0.0, 0.0], True, "undecided"),
        ([-0.019, -0.01], True, "worse"),
        ([0.01, 0.3], True, "better"),
    ],
)
def test_held_needs_an_interval_that_ends_within_the_margin(interval, higher_is_better, direction):
    difference = {"value": 0.0, "ci95": interval}
    assert find_direction({"higher_is_better": higher_is_better, "margin": 0.02}, difference) == direction


def test_worked_non_inferiority():
    bounds = [-0.005 - 1.959964 * 0.004, -0.005 + 1.959964 * 0.004]
    found = [
        find_direction({"higher_is_better": True, "margin": margin}, {"value": -0.005, "ci95": bounds})
        for margin in (0.02, 0.01)
    ]
    assert found == ["held", "undecided"]


def test_what_is_held_says_within_which_margin():
    held = measured(0.0, 0.015) | {"margin": 0.02}
    assert "within the margin of 2.0 points" in describe(held).sentence
    assert "on all not worse by more than the margin" in judge([held, held], is_compared=True).headline


def test_direction_without_difference_is_missing():
    assert find_direction({"higher_is_better": True}, None) == "missing"


def test_headline_counts_better_worse_and_undecided():
    judgement = judge([measured(0.2, 0.1), measured(-0.2, 0.1), measured(0.1, 0.2)], is_compared=True)
    assert judgement.headline == (
        "Of 3 primary figures, after Holm's correction, the adapted model is better than base on 1, "
        "worse on 1; on 1 no difference is shown with this many items."
    )
    assert [len(judgement.of(word)) for word in ("better", "worse", "undecided", "missing")] == [1, 1, 1, 0]


def test_headline_says_worse_where_everything_is():
    judgement = judge([measured(-0.2, 0.1), measured(-0.3, 0.1)], is_compared=True)
    assert (
        judgement.headline
        == "Of 2 primary figures, after Holm's correction, the adapted model is better than base on none, "
        "worse on all."
    )


def test_headline_claims_nothing_where_nothing_is_decided():
    judgement = judge([measured(0.1, 0.2)], is_compared=True)
    assert "better than base on none, worse on none" in judgement.headline
    assert "on 1 no difference is shown" in judgement.headline


def test_missing_adapted_is_said_and_claims_nothing():
    judgement = judge([measured(0.2, 0.1) | {"adapted": None, "difference": None}], is_compared=True)
    assert "1 has no interval" in judgement.headline
    assert "better than base on none" in judgement.headline
    assert "nothing is claimed" in judgement.of("missing")[0].sentence


def test_missing_adapted_value_outweighs_its_difference():
    assert describe(measured(0.2, 0.1) | {"adapted": None}).direction == "missing"


def test_plain_model_has_nothing_to_compare():
    plain = entry("questions_it", "accuracy", base=figure(0.5, 0.1), stages={}, n=60)
    judgement = judge([plain], is_compared=False)
    assert "nothing to compare" in judgement.headline
    assert judgement.findings == ()


def test_nothing_measured_claims_nothing():
    assert judge([], is_compared=True).headline == "Nothing was measured, so nothing is claimed."


def test_secondary_figures_do_not_count():
    judgement = judge([measured(0.2, 0.1), measured(-0.2, 0.1, primary=False)], is_compared=True)
    assert judgement.headline.startswith(
        "Of 1 primary figure, the adapted model is better than base on 1, worse on none"
    )
    assert [finding.primary for finding in judgement.findings] == [True, False]


def test_only_secondary_figures_say_nothing():
    judgement = judge([measured(0.2, 0.1, primary=False)], is_compared=True)
    assert "nothing can be said" in judgement.headline


def test_sentence_holds_values_difference_interval_p_and_n():
    sentence = describe(make_metrics()[1]).sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert sentence == (
        "English text, bits per byte: 1.01 → 1.04 bits/byte (+2.9%); difference +0.0290 bits/byte, "
        "unadjusted 95% interval [+0.0200, +0.0380], p < 0.001, Holm p < 0.001, n = 25."
    )


def decided(p_holm, change=0.2, half=0.1, margin=None, **more):
    """A figure whose interval excludes 0, with an adjusted p of its own."""
    found = measured(change, half, **more) | {"margin": margin}
    found["difference"]["p_holm"] = p_holm
    return found


@pytest.mark.parametrize(
    ("p_holm", "margin", "change", "direction"),
    [
        (0.049, None, 0.2, "better"),
        (0.05, None, 0.2, "undecided"),
        (0.05, 0.02, 0.2, "held"),
        (0.049, 0.02, -0.2, "worse"),
        (0.05, 0.02, -0.2, "undecided"),
        (0.05, 0.31, -0.2, "held"),
        (None, None, 0.2, "better"),
    ],
)
def test_holm_decides_the_word_of_a_figure_of_a_family(p_holm, margin, change, direction):
    assert describe(decided(p_holm, change, margin=margin)).direction == direction


def test_headline_counts_by_holm_and_the_interval_stays_shown_as_unadjusted():
    judgement = judge([decided(0.2), decided(0.01)], is_compared=True)
    assert "better than base on 1, worse on none; on 1 no difference is shown" in judgement.headline
    (left,) = judgement.of("undecided")
    assert "unadjusted 95% interval [+10.0,\N{NO-BREAK SPACE}+30.0]" in left.detail
    assert "excludes 0, but Holm's correction leaves no difference shown" in left.detail
    assert "holds\N{NO-BREAK SPACE}0" not in left.detail


def test_interval_against_test_is_called_weak_outside_a_family():
    assert "weak" in describe(decided(None, half=0.19, p=0.06)).detail
    assert "weak" not in describe(decided(None, p=0.01)).detail


def test_figure_that_was_not_run_says_why():
    base = {"value": None, "ci95": None, "not_run": "no chat template"}
    finding = describe(measured(0.2, 0.1) | {"base": base, "difference": None})
    assert finding.direction == "missing"
    assert "not run: no chat template, so nothing is claimed" in finding.detail


def test_no_item_that_differs_is_said():
    assert "no item differs" in describe(measured(0.0, 0.0, p=1.0)).detail


@pytest.mark.parametrize(
    ("task", "language", "metric", "name"),
    [
        ("text_it", "it", "bits_per_byte", "Italian text, bits per byte"),
        ("bits_per_byte_en", "en", "bits_per_byte", "English bits per byte"),
        ("quiz_xx", "xx", "new_metric", "xx quiz, new metric"),
        ("quiz", "", "accuracy", "Quiz, accuracy"),
    ],
)
def test_metric_is_named_by_language_task_and_metric(task, language, metric, name):
    assert name_metric({"task": task, "language": language, "metric": metric}) == name
