"""Evaluation of a tiny model: forests against transformers' own forward."""

from __future__ import annotations

import pytest
import torch

from adatta.chat.render import Chat
from adatta.core.records import TokenRow
from adatta.evals import runner
from adatta.evals.ask import CONTROL_PLAIN, Limits, make_subject
from adatta.evals.journal import Journal
from adatta.evals.runner import evaluate_model, sum_groups
from adatta.lang.profile import load_profile
from adatta.model.forest import pack_rows
from adatta.model.load import load_model
from adatta.model.score import score_tokens

pytestmark = pytest.mark.torch

LIMITS = Limits(context=2048, max_new_tokens=4)


@pytest.fixture(scope="module")
def model(toy_folder):
    return load_model(toy_folder, torch.float32)


@pytest.fixture(scope="module")
def chat(toy_folder):
    return Chat.load(toy_folder)


def evaluate(model, chat, suite, *, stage="base", **options):
    return evaluate_model(
        model,
        chat,
        suite=suite,
        subject=make_subject(stage, "a", load_profile("it")),
        limits=LIMITS,
        **options,
    )


def reference_sum(model, ids, first):
    """Sum log-probs of the tokens from `first` on, one row alone, in float64."""
    ids_T = torch.tensor(ids)
    with torch.no_grad():
        logp_TV = model(input_ids=ids_T[None]).logits[0].double().log_softmax(-1)
    return sum(logp_TV[place - 1, ids_T[place]].item() for place in range(first, len(ids)))


def test_group_sums_equal_transformers_row_by_row(model):
    prefix = (1, 5, 6, 7)
    rows = [(*prefix, 20), (*prefix, 20, 21), (*prefix, 33, 8, 9)]
    groups = [
        [TokenRow(ids=ids, weights=(0.0,) * 4 + (1.0,) * (len(ids) - 4), row_id="x") for ids in rows],
        [TokenRow(ids=(3, 4, 5), weights=(0.0, 1.0, 1.0), row_id="y")],
    ]
    for forest_tokens in (2048, 8):
        sums = sum_groups(model, groups, forest_tokens=forest_tokens)
        assert sums[0] == pytest.approx([reference_sum(model, ids, 4) for ids in rows], abs=1e-4)
        assert sums[1] == pytest.approx([reference_sum(model, (3, 4, 5), 1)], abs=1e-4)


def test_forest_and_plain_give_the_same_scores(model, chat, small_suite):
    forest, plain = (evaluate(model, chat, small_suite, engine=engine) for engine in ("forest", "plain"))
    assert len(forest) == 40 + 8  # the model's own, and what rules make of the preferences
    for ours, theirs in zip(forest, plain, strict=True):
        assert (ours.item_id, ours.metric, ours.output) == (theirs.item_id, theirs.metric, theirs.output)
        assert (ours.status, ours.reason) == (theirs.status, theirs.reason)
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
        assert ours.probability == pytest.approx(theirs.probability, abs=1e-5)


def test_bits_per_byte_equal_a_plain_sum(model, chat, small_suite):
    item = small_suite.items()["text_it"][1]
    row = chat.continuation("", item.fields["text"])
    expected = -reference_sum(model, row.ids, 1) / torch.log(torch.tensor(2.0)).item() / 26
    found = next(score for score in evaluate(model, chat, small_suite) if score.item_id == item.item_id)
    assert found.score == pytest.approx(expected, rel=1e-5)
    assert found.num_bytes == 26


def test_evaluation_is_the_same_twice_and_leaves_the_mode(model, chat, small_suite):
    model.train()
    first = evaluate(model, chat, small_suite)
    assert model.training
    model.eval()
    assert evaluate(model, chat, small_suite) == first


def test_control_is_asked_for_answers_only(model, chat, small_suite):
    scores = evaluate(model, chat, small_suite, stage=CONTROL_PLAIN)
    assert {score.task for score in scores} == {"prompts_it"}


def test_an_evaluation_that_was_stopped_goes_on_where_it_was(model, chat, small_suite, tmp_path, monkeypatch):
    expected = evaluate(model, chat, small_suite)
    monkeypatch.setattr(runner, "pack_rows", lambda rows, _: pack_rows(rows, 60))
    asked = []

    def stopped(*arguments, **options):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(arguments)
        return score_tokens(*arguments, **options)

    journal = tmp_path / "journal.jsonl"
    monkeypatch.setattr(runner, "score_tokens", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, chat, small_suite, journal=Journal(journal))
    assert len(journal.read_text(encoding="utf-8").splitlines()) > 1
    counted = []
    monkeypatch.setattr(runner, "score_tokens", lambda *a, **b: counted.append(a) or score_tokens(*a, **b))
    again = evaluate(model, chat, small_suite, journal=Journal(journal))
    assert [(score.item_id, score.metric) for score in again] == [(s.item_id, s.metric) for s in expected]
    first = len(counted)
    assert evaluate(model, chat, small_suite, journal=Journal(journal)) == again
    assert len(counted) == first > 0
