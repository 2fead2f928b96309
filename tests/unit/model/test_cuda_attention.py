"""What computes attention on CUDA, as far as it can be seen without a card, and what needs one."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from adatta.model import attend as attending
from adatta.model.attend import ForestAttention, choose_backend
from adatta.model.attention import varlen
from adatta.model.attention.branches import Branches, Rule
from adatta.model.attention.flex import Flex
from adatta.model.attention.varlen import Varlen, is_flat
from adatta.model.forest import build_forest
from adatta.model.load import load_model
from adatta.model.score import score
from tests.toys.rows import branching_rows
from tests.unit.model.test_branches import random_states, walk

pytestmark = pytest.mark.torch

FOREST = build_forest(branching_rows())
FLAT = build_forest(branching_rows(), share_prefix=False)
HOW = [(None, None), (5, None), (16, 3.0), (None, 0.5)]
needs_card = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device: FlexAttention and flash attention run there"
)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")  # the CPU has no kernel
@pytest.mark.parametrize("forest", [FOREST, FLAT], ids=["shared", "flat"])
@pytest.mark.parametrize(("window", "softcap"), HOW)
def test_flex_is_the_walk_up_the_parents(forest, window, softcap):
    states = random_states(forest, 3, 16)
    query, key, value = states
    with torch.no_grad():
        rule = Rule(window, scale=0.3, softcap=softcap)
        found = Flex(forest).attend(query, key=key, value=value, rule=rule)
    expected = walk(forest, states, window=window, scale=0.3, softcap=softcap)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def by_rows(query, key, value, borders, also, longest, longest_key, *, scale, window_size, enable_gqa):
    """What `varlen_attn` documents, written row by row."""
    assert enable_gqa
    assert torch.equal(borders, also)
    assert longest == longest_key == borders.diff().max()
    left, right = window_size
    assert right == 0
    outputs = []
    for start, end in pairwise(borders):
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)
        sees = (distance >= 0) & (distance <= (left if left >= 0 else end))
        rows = [states[start:end].transpose(0, 1) for states in (query, key, value)]
        products = scale * rows[0] @ rows[1].repeat_interleave(2, 0).transpose(1, 2)
        shares = products.masked_fill(~sees, -torch.inf).softmax(-1)
        outputs.append((shares @ rows[2].repeat_interleave(2, 0)).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("window", [None, 1, 5])
def test_varlen_asks_for_the_walk_up_the_parents(monkeypatch, window):
    monkeypatch.setattr(varlen, "varlen_attn", by_rows)
    states = random_states(FLAT, 3, 16)
    query, key, value = states
    found = Varlen(FLAT).attend(query, key=key, value=value, rule=Rule(window, scale=0.3))
    expected = walk(FLAT, states, window=window, scale=0.3, softcap=None)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_forest_is_flat_without_branching_points():
    assert is_flat(FLAT)
    assert not is_flat(FOREST)
    assert is_flat(build_forest(branching_rows()[4:5]))


@pytest.mark.parametrize(
    ("device", "dtype", "features", "flat", "softcap", "expected"),
    [
        ("cpu", torch.bfloat16, 64, True, None, Branches),
        ("cuda", torch.bfloat16, 64, True, None, Varlen),
        ("cuda", torch.bfloat16, 64, False, None, Flex),
        ("cuda", torch.bfloat16, 64, True, 50.0, Flex),
        ("cuda", torch.bfloat16, 288, True, None, Flex),
        ("cuda", torch.float32, 64, True, None, Flex),
        ("cuda", torch.float32, 8, False, None, Branches),
        ("cuda", torch.float64, 64, False, None, Branches),
    ],
)
def test_device_and_forest_decide(device, dtype, features, flat, softcap, expected):
    query = SimpleNamespace(is_cuda=device == "cuda", dtype=dtype, shape=(1, 4, 100, features))
    assert choose_backend(query, is_flat=flat, softcap=softcap) is expected


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", ["mistral", "gemma2", "gemma3_text"])
def test_a_model_scores_the_same_by_flex(architecture_folders, monkeypatch, name):
    model = load_model(architecture_folders[name])
    with torch.no_grad():
        expected = score(model, FOREST)
        monkeypatch.setattr(attending, "choose_backend", lambda *args, **kwargs: Flex)
        assert (score(model, FOREST) - expected).abs().max() <= 1e-4


@pytest.mark.gpu
@needs_card
@pytest.mark.parametrize("forest", [FOREST, FLAT], ids=["shared", "flat"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("window", "softcap"), HOW)
def test_kernels_give_values_and_gradients_of_float64(forest, dtype, window, softcap):
    """Both kernels against the walk up the parents in float64, on what their dtype leaves of the numbers."""
    states = [each.to(dtype).double().requires_grad_() for each in random_states(forest, 3, 64)]
    expected = walk(forest, states, window=window, scale=0.125, softcap=softcap)
    expected.sum().backward()
    query, key, value = (each.detach().to("cuda", dtype).requires_grad_() for each in states)
    rule = Rule(window, scale=0.125, softcap=softcap)
    found = ForestAttention(forest.to("cuda")).attend(query, key=key, value=value, rule=rule)
    found.sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2  # kernels keep 24 and 8 bits of a number
    for ours, theirs in [
        (found, expected),
        *((ours.grad, theirs.grad) for ours, theirs in zip((query, key, value), states, strict=True)),
    ]:
        assert (ours.detach().cpu().double() - theirs.detach()).norm() <= tolerance * theirs.detach().norm()


@pytest.mark.gpu
@needs_card
def test_a_model_on_a_card_scores_as_on_the_cpu(architecture_folders):
    for folder in architecture_folders.values():
        model = load_model(folder)
        with torch.no_grad():
            expected = score(model, FOREST)
            found = score(model.to("cuda"), FOREST.to("cuda")).cpu()
        assert (found - expected).abs().max() <= 1e-3
