"""Ten architectures by the forest engine, against transformers unpatched, one row at a time."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from adatta.model.attention import branches
from adatta.model.forest import build_forest
from adatta.model.generate import generate_greedy
from adatta.model.load import load_model
from adatta.model.score import score
from tests.toys.models import ARCHITECTURES, SLIDING_WINDOW
from tests.toys.rows import branching_rows

pytestmark = pytest.mark.torch

ROWS = branching_rows()  # of up to 45 tokens, branching behind the first 7, 12 and 20
FORESTS = build_forest(ROWS[:3]), build_forest(ROWS[3:])


def unpatched(folder, dtype):
    """The model as transformers loads it by itself: with `eager` for Gemma 2, else with `sdpa`."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def values_and_gradients(model):
    """Those of each forest by transformers, whose own forward is all that `plain` calls."""
    found = []
    for forest in FORESTS:
        model.zero_grad(set_to_none=True)
        logp_S = score(model, forest, engine="plain")
        (logp_S * forest.weight_S).sum().backward()
        found.append((logp_S.detach(), gradients(model)))
    return found


def compare_in_flight(model, expected, *, atol, rtol):
    """Both forests go forward before either goes backward."""
    scores = [score(model, forest, engine="forest") for forest in FORESTS]
    for forest, logp_S, (expected_S, gradient) in reversed(list(zip(FORESTS, scores, expected, strict=True))):
        assert logp_S.dtype == expected_S.dtype
        assert (logp_S.detach() - expected_S).abs().max() <= atol
        model.zero_grad(set_to_none=True)
        (logp_S * forest.weight_S).sum().backward()
        assert (gradients(model) - gradient).norm() <= rtol * gradient.norm()


@pytest.mark.usefixtures("wide_norms")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forests_are_exact_in_float64(architecture_folders, monkeypatch, name):
    """By branches and under one mask, with and without layers computed again, two forests in flight."""
    assert max(len(row.ids) for row in ROWS) > 2 * SLIDING_WINDOW
    expected = values_and_gradients(unpatched(architecture_folders[name], torch.float64).eval())
    ours = load_model(architecture_folders[name], torch.float64).requires_grad_(True).train()
    for pairs_a_call in (0, 10**9):
        monkeypatch.setattr(branches, "_CALL_PAIRS", pairs_a_call)
        compare_in_flight(ours, expected, atol=1e-10, rtol=1e-10)
    ours.activation_checkpointing_enable()
    compare_in_flight(ours, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forests_are_exact_in_fp32(architecture_folders, monkeypatch, name):
    expected = values_and_gradients(unpatched(architecture_folders[name], torch.float32).eval())
    ours = load_model(architecture_folders[name]).requires_grad_(True).train()
    for pairs_a_call in (0, 10**9):
        monkeypatch.setattr(branches, "_CALL_PAIRS", pairs_a_call)
        largest = max(float(logp_S.abs().max()) for logp_S, _ in expected)
        compare_in_flight(ours, expected, atol=1e-5 * max(1, largest), rtol=1e-5)


@pytest.mark.usefixtures("wide_norms")  # fp32 has no room for the mask of a float64 model: padding gives NaN
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_answers_are_those_of_transformers(architecture_folders, name):
    """Longer than every window, in batches, behind a beginning that all prompts share; after a forest."""
    prompts = [ROWS[1].ids, ROWS[0].ids, ROWS[2].ids]
    model = unpatched(architecture_folders[name], torch.float64).eval()
    model.generation_config.eos_token_id = None
    options = {"do_sample": False, "max_new_tokens": 20, "use_cache": False}
    expected = [
        tuple(model.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist())
        for prompt in prompts
    ]
    ours = load_model(architecture_folders[name], torch.float64)
    with torch.no_grad():
        score(ours, FORESTS[0], engine="forest")
    assert generate_greedy(ours, prompts, stop_ids=(), limit=20, pad_id=2) == expected
