"""The forest engine against transformers itself, one row at a time."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from adatta.core.errors import ModelError
from adatta.model.attend import ForestAttention
from adatta.model.attention import branches
from adatta.model.forest import build_forest
from adatta.model.score import score, score_tokens
from tests.toys.models import FAMILIES, SLIDING_WINDOW
from tests.toys.rows import branching_rows, token_row

pytestmark = pytest.mark.torch


def load(folder, dtype, attention="sdpa"):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention)


@pytest.fixture(params=[0, 10**9], ids=["by branches", "one mask"])
def attention(request, monkeypatch):
    """Both ways of attending: the forests of these tests are too small to take the first by themselves."""
    monkeypatch.setattr(branches, "_CALL_PAIRS", request.param)


def value_and_gradient(model, forest, engine):
    model.zero_grad(set_to_none=True)
    logp_S = score(model, forest, engine=engine)
    (logp_S * forest.weight_S).sum().backward()
    return logp_S.detach(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.usefixtures("wide_norms", "attention")
@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_forest_is_plain_in_float64(toy_folders, family, tied, share_prefix):
    forest = build_forest(branching_rows(), share_prefix=share_prefix)
    folder = toy_folders[family, tied]
    expected, gradient = value_and_gradient(load(folder, torch.float64), forest, "plain")
    found, our_gradient = value_and_gradient(load(folder, torch.float64), forest, "forest")
    assert found.dtype == torch.float64
    assert (found - expected).abs().max() <= 1e-10
    assert (our_gradient - gradient).norm() <= 1e-10 * gradient.norm()


@pytest.mark.usefixtures("attention")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_forest_is_plain_in_fp32(toy_folders, family, tied):
    forest = build_forest(branching_rows())
    folder = toy_folders[family, tied]
    expected, gradient = value_and_gradient(load(folder, torch.float32, "eager"), forest, "plain")
    found, our_gradient = value_and_gradient(load(folder, torch.float32), forest, "forest")
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-4  # log-probs go down to -30 nats here
    assert (our_gradient - gradient).norm() <= 1e-5 * gradient.norm()


def test_log_probs_are_those_of_hand_made_softmax(toy_folder):
    """Plain itself, against Python's own floats."""
    model = load(toy_folder, torch.float64)
    row = token_row((5, 9, 200, 31), unscored=2, row_id="a")
    logits_TV = model(torch.tensor([row.ids])).logits[0].tolist()
    expected = [
        logits_TV[place - 1][row.ids[place]] - math.log(math.fsum(map(math.exp, logits_TV[place - 1])))
        for place in (2, 3)
    ]
    assert score(model, build_forest([row]), engine="plain").tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("attention")
def test_a_window_counts_depth_not_packed_index(toy_folders):
    """A long branch stands between a prompt and its second branch; both see the same window of the prompt."""
    model = load(toy_folders["mistral", True], torch.float64)
    prompt = tuple(range(100, 100 + SLIDING_WINDOW + 4))
    rows = [
        token_row(prompt + tuple(range(10, 10 + 3 * SLIDING_WINDOW)), unscored=len(prompt), row_id="long"),
        token_row((*prompt, 300, 301), unscored=len(prompt), row_id="short"),
    ]
    forest = build_forest(rows)
    alone = score(model, build_forest(rows[1:]), engine="plain")
    assert torch.allclose(score(model, forest)[-2:], alone, atol=1e-10)


@pytest.mark.usefixtures("wide_norms", "attention")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_forests_in_flight_give_the_gradients_of_separate_runs(toy_folder, checkpointing):
    rows = branching_rows()
    forests = [build_forest(rows[:3]), build_forest(rows[3:])]
    separate = [
        value_and_gradient(load(toy_folder, torch.float64), forest, "forest")[1] for forest in forests
    ]
    model = load(toy_folder, torch.float64).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    sums = [(score(model, forest) * forest.weight_S).sum() for forest in forests]
    for total, expected in zip(reversed(sums), reversed(separate), strict=True):
        model.zero_grad(set_to_none=True)
        total.backward()
        found = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        assert (found - expected).norm() <= 1e-12 * expected.norm()


def test_a_model_that_scored_forests_generates_as_before(toy_folder):
    """Left padding needs transformers' own masks: without a forest ours must be sdpa, bit for bit."""
    fresh, used = load(toy_folder, torch.float32), load(toy_folder, torch.float32)
    score(used, build_forest(branching_rows()))
    ids = torch.tensor([[2, 2, 17, 40, 99], [7, 30, 100, 44, 20]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    logits = [model(ids, attention_mask=mask).logits[:, 2:] for model in (fresh, used)]
    assert torch.equal(*logits)
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False}
    assert torch.equal(fresh.generate(ids, **options), used.generate(ids, **options))


@pytest.mark.parametrize("engine", ["forest", "plain"])
def test_best_tokens_are_known(toy_folder, engine):
    model = load(toy_folder, torch.float64)
    start = (5, 80, 33)
    best = int(model(torch.tensor([start])).logits[0, -1].argmax())
    rows = [
        token_row((*start, best), unscored=3, row_id="best"),
        token_row((*start, (best + 1) % 400), unscored=3, row_id="other"),
    ]
    assert score_tokens(model, build_forest(rows), engine=engine).is_best_S.tolist() == [True, False]


@pytest.mark.parametrize(("engine", "module"), [("forest", "score"), ("fused", "blocks")])
def test_only_what_something_scored_is_read_through_is_computed(toy_folder, engine, module, monkeypatch):
    rows = [token_row((5, 6, 7, *ends), unscored=2, row_id=str(ends)) for ends in ((8, 9), (3, 4), (2,))]
    computed = []

    def attention(forest):
        computed.append(forest.ids_T.tolist())
        return ForestAttention(forest)

    monkeypatch.setattr(f"adatta.model.{module}.ForestAttention", attention)
    score(load(toy_folder, torch.float32), build_forest(rows), engine=engine)
    assert computed == [[5, 6, 7, 3, 8]]  # behind these something is scored


@pytest.mark.parametrize("engine", ["forest", "fused", "plain"])
def test_a_forest_without_scored_tokens_has_no_scores(toy_folder, engine):
    model = load(toy_folder, torch.float32)
    forest = build_forest([token_row((5, 6, 7), unscored=3, row_id="a")])
    assert score(model, forest, engine=engine).shape == (0,)


def test_an_unknown_engine_is_named(toy_folder):
    model = load(toy_folder, torch.float32)
    with pytest.raises(ModelError, match="'fast' is not known"):
        score(model, build_forest(branching_rows()), engine="fast")


def test_an_adapted_head_is_refused(toy_folders):
    model = load(toy_folders["llama", False], torch.float32)
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(ModelError, match="one plain matrix"):
        score(model, build_forest(branching_rows()))
