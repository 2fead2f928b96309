"""The chunked vocabulary projection against PyTorch's log_softmax on all logits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from adatta.model import head
from adatta.model.head import LogitMap, TokenLogProbs

pytestmark = pytest.mark.torch

VOCABULARY, FEATURES, POSITIONS = 13, 5, 7
POSITION_N = torch.tensor([0, 0, 1, 3, 3, 3, 6])
TOKEN_N = torch.tensor([2, 2, 12, 0, 5, 7, 1])


@pytest.fixture(params=[1, 3, 100], ids=lambda positions: f"chunks of {positions}")
def chunk(request, monkeypatch):
    monkeypatch.setattr(head, "CHUNK_BYTES", request.param * VOCABULARY * 8)


def tensors(trainable_weight):
    generator = torch.Generator().manual_seed(3)
    hidden_PE = torch.randn(POSITIONS, FEATURES, dtype=torch.float64, generator=generator)
    weight_VE = torch.randn(VOCABULARY, FEATURES, dtype=torch.float64, generator=generator)
    return hidden_PE.requires_grad_(), weight_VE.requires_grad_(trainable_weight)


def changed_by_hand(logits, scale, softcap):
    """What Granite, Cohere and the Gemmas do, written as their modules write it."""
    logits = logits * scale
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("trainable_weight", [False, True])
@pytest.mark.parametrize("change", [(1.0, None), (0.25, None), (1.0, 1.5), (3.0, 2.0)])
def test_values_and_gradients_are_exact(trainable_weight, change):
    hidden_PE, weight_VE = tensors(trainable_weight)
    upstream_N = torch.linspace(-1, 2, len(TOKEN_N), dtype=torch.float64)
    inputs = (hidden_PE, weight_VE) if trainable_weight else (hidden_PE,)
    logits_PV = changed_by_hand(hidden_PE @ weight_VE.T, *change)
    expected_N = torch.log_softmax(logits_PV, -1)[POSITION_N, TOKEN_N]
    expected = torch.autograd.grad(expected_N, inputs, upstream_N)
    found_N, is_best_N = TokenLogProbs.apply(hidden_PE, weight_VE, POSITION_N, TOKEN_N, LogitMap(*change))
    found = torch.autograd.grad(found_N, inputs, upstream_N)
    torch.testing.assert_close(found_N, expected_N, rtol=0, atol=1e-13)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    best_P = logits_PV.argmax(-1)
    assert torch.equal(is_best_N, best_P[POSITION_N] == TOKEN_N)
    every_P = torch.arange(len(best_P))
    assert TokenLogProbs.apply(hidden_PE, weight_VE, every_P, best_P, LogitMap(*change))[1].all()


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("size", [1.0, 6.0])  # the larger, the nearer to 1 are the chosen tokens
@pytest.mark.parametrize("softcap", [None, 20.0])
def test_of_narrow_weights_the_chosen_logits_are_not_rounded(size, softcap):
    """Against float64 of the same bf16 weights; what is rounded are the other logits and the products."""
    hidden_PE, weight_VE = tensors(True)
    hidden_PE = (size * hidden_PE.detach()).float().requires_grad_()
    narrow_VE = weight_VE.detach().bfloat16().requires_grad_()
    token_P = (hidden_PE.double() @ narrow_VE.double().T).argmax(-1)
    inputs = (hidden_PE.detach().double().requires_grad_(), narrow_VE.detach().double().requires_grad_())
    logits_PV = changed_by_hand(inputs[0] @ inputs[1].T, 1.0, softcap)
    expected_P = torch.log_softmax(logits_PV, -1)[torch.arange(POSITIONS), token_P]
    expected = torch.autograd.grad(expected_P.sum(), inputs)
    found_P, _ = TokenLogProbs.apply(
        hidden_PE, narrow_VE, torch.arange(POSITIONS), token_P, LogitMap(softcap=softcap)
    )
    found = torch.autograd.grad(found_P.sum(), (hidden_PE, narrow_VE))
    torch.testing.assert_close(found_P.double(), expected_P, rtol=0.02, atol=1e-3)
    terms = (narrow_VE.detach()[token_P], hidden_PE.detach())  # what gradients are differences of
    for ours, theirs, term in zip(found, expected, terms, strict=True):
        assert (ours.double() - theirs).norm() <= 2**-7 * term.double().norm()


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("logit_map", [LogitMap(), LogitMap(scale=0.5, softcap=2.0)])
def test_gradients_are_those_of_finite_differences(logit_map):
    hidden_PE, weight_VE = tensors(True)
    assert torch.autograd.gradcheck(
        lambda *inputs: TokenLogProbs.apply(*inputs, POSITION_N, TOKEN_N, logit_map)[0],
        (hidden_PE, weight_VE),
    )


def test_a_configuration_says_what_happens_to_the_logits():
    assert LogitMap.of(SimpleNamespace()) == LogitMap(scale=1.0, softcap=None)
    assert LogitMap.of(SimpleNamespace(logits_scaling=8.0)) == LogitMap(scale=0.125)
    assert LogitMap.of(SimpleNamespace(logit_scale=0.0625)) == LogitMap(scale=0.0625)
    assert LogitMap.of(SimpleNamespace(final_logit_softcapping=30.0)) == LogitMap(softcap=30.0)


def test_no_tensor_of_positions_by_vocabulary_is_kept(monkeypatch):
    monkeypatch.setattr(head, "CHUNK_BYTES", 2 * VOCABULARY * 8)
    kept = []

    def keep(tensor):
        kept.append(tensor.shape)
        return tensor

    hidden_PE, weight_VE = tensors(False)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        TokenLogProbs.apply(hidden_PE, weight_VE, POSITION_N, TOKEN_N, LogitMap())
    assert kept
    assert all(tuple(shape) != (POSITIONS, VOCABULARY) for shape in kept)
