"""The fused engine against transformers and PEFT, unpatched."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from adatta.core.errors import ExactnessError, ModelError
from adatta.core.records import TokenRow
from adatta.core.settings import AdapterSettings
from adatta.model import blocks, exactness
from adatta.model.adapter import add_adapter, linear_layers
from adatta.model.attention import branches
from adatta.model.blocks import explain_unfused
from adatta.model.exactness import choose_engine
from adatta.model.forest import build_forest
from adatta.model.linear import add_updates_wide
from adatta.model.quantise import quantise_base
from adatta.model.score import score
from tests.toys.rows import branching_rows

pytestmark = pytest.mark.torch

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


def load(folder, dtype=torch.float64):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


@pytest.fixture(params=[0, 10**9], ids=["by branches", "one mask"])
def attention(request, monkeypatch):
    monkeypatch.setattr(branches, "_CALL_PAIRS", request.param)


def adapt(model, **settings):
    """Put an adapter on a model whose updates do something."""
    model = add_adapter(model, AdapterSettings(rank=4, **settings), seed=1, base_name=model.name_or_path)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return model


def value_and_gradient(model, forest, engine):
    model.zero_grad(set_to_none=True)
    logp_S = score(model, forest, engine=engine)
    (logp_S * forest.weight_S).sum().backward()
    trained = [value for value in model.parameters() if value.requires_grad]
    return logp_S.detach(), torch.cat([value.grad.flatten() for value in trained])


def distances(found, expected):
    """Return the largest difference of the log-probs, and that of the gradients, relative."""
    logp = (found[0] - expected[0]).abs().max()
    return float(logp), float((found[1] - expected[1]).norm() / expected[1].norm())


@pytest.mark.usefixtures("wide_norms", "attention")
@pytest.mark.parametrize("family", FAMILY)
def test_fused_is_plain_in_float64(architecture_folders, family):
    """All weights are trained: norms, biases, embedding and head too."""
    folder, forest = architecture_folders[family], build_forest(branching_rows())
    plain, fused = (value_and_gradient(load(folder), forest, engine) for engine in ("plain", "fused"))
    assert fused[0].dtype == torch.float64
    logp, gradient = distances(fused, plain)
    assert logp <= 1e-10
    assert gradient <= 1e-10


@pytest.mark.parametrize("family", FAMILY)
def test_fused_is_plain_in_fp32(architecture_folders, family):
    folder, forest = architecture_folders[family], build_forest(branching_rows())
    plain, fused = (
        value_and_gradient(load(folder, torch.float32), forest, engine) for engine in ("plain", "fused")
    )
    logp, gradient = distances(fused, plain)
    assert logp <= 1e-4  # log-probs go down to -30 nats here
    assert gradient <= 1e-5


@pytest.mark.usefixtures("wide_norms")
@pytest.mark.parametrize("targets", ["all-linear", ["k_proj", "o_proj", "up_proj"]])
@pytest.mark.parametrize("engine", ["forest", "fused"])
def test_updates_added_by_us_are_those_of_peft(toy_folders, targets, engine):
    forest = build_forest(branching_rows())
    model = adapt(load(toy_folders["qwen2", True]), targets=targets, rslora=True, alpha=3)
    peft = value_and_gradient(model, forest, "plain")
    add_updates_wide(model)
    logp, gradient = distances(value_and_gradient(model, forest, engine), peft)
    assert logp <= 1e-10
    assert gradient <= 1e-10
    with torch.no_grad(), model.disable_adapter():
        base = score(load(toy_folders["qwen2", True]), forest, engine="plain")
        assert (score(model, forest, engine=engine) - base).abs().max() <= 1e-10
    assert (peft[0] - base).abs().max() > 0.01


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_four_bit_base_is_fused_too(toy_folders, family):
    forest = build_forest(branching_rows())
    model = load(toy_folders[family, False], torch.float32).requires_grad_(False)
    quantise_base(model, linear_layers(model), dequantise=False)
    model = adapt(model)
    peft = value_and_gradient(model, forest, "plain")
    logp, gradient = distances(value_and_gradient(model, forest, "fused"), peft)
    assert logp <= 1e-4
    assert gradient <= 1e-5


@pytest.mark.usefixtures("wide_norms", "attention")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_forests_in_flight_give_the_gradients_of_separate_runs(toy_folder, checkpointing):
    rows = branching_rows()
    forests = [build_forest(rows[:3]), build_forest(rows[3:])]
    separate = [value_and_gradient(adapt(load(toy_folder)), forest, "plain")[1] for forest in forests]
    model = adapt(load(toy_folder)).train()
    if checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    sums = [(score(model, forest, engine="fused") * forest.weight_S).sum() for forest in forests]
    for total, expected in zip(reversed(sums), reversed(separate), strict=True):
        model.zero_grad(set_to_none=True)
        total.backward()
        trained = [value for value in model.parameters() if value.requires_grad]
        found = torch.cat([value.grad.flatten() for value in trained])
        assert (found - expected).norm() <= 1e-10 * expected.norm()


@pytest.mark.usefixtures("attention")
@pytest.mark.parametrize("engine", ["forest", "fused"])
@pytest.mark.parametrize("changed", range(6))
def test_a_changed_branch_moves_no_other(toy_folder, engine, changed):
    """A token that is computed changes; every other row's log-probs stay, up to the order of sums."""
    model, rows = load(toy_folder), branching_rows()
    row = rows[changed]
    other = (*row.ids[:-2], (row.ids[-2] + 1) % 400, row.ids[-1])
    moved = [*rows]
    moved[changed] = TokenRow(ids=other, weights=(0.0, *[1.0] * (len(other) - 1)), row_id="changed")
    with torch.no_grad():
        before, after = (
            {
                int(number): logp_S[forest.row_S == number]
                for forest in [build_forest(kept)]
                for logp_S in [score(model, forest, engine=engine)]
                for number in forest.row_S.unique()
            }
            for kept in (rows, moved)
        )
    for number in range(len(rows)):
        if number != changed:
            assert (before[number] - after[number]).abs().max() <= 1e-12
    assert len(before[changed]) != len(after[changed]) or not torch.equal(before[changed], after[changed])


def test_recomputing_keeps_no_more_than_a_block(toy_folder, monkeypatch):
    model = adapt(load(toy_folder)).train()
    model.get_base_model().activation_checkpointing_enable()
    calls = []
    real = blocks._block
    monkeypatch.setattr(blocks, "_block", lambda *arguments: calls.append(1) or real(*arguments))
    forest = build_forest(branching_rows())
    score(model, forest, engine="fused").sum().backward()
    assert len(calls) == 2 * 2  # two layers, forward and again
    with torch.no_grad():
        score(model, forest, engine="fused")
    assert len(calls) == 2 * 2 + 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: adapt(model, dropout=0.1), "dropout"),
        (lambda model: setattr(model.config, "hidden_act", "gelu") or model, "activation is gelu"),
        (lambda model: type("OtherForCausalLM", (), {})(), "not of the Llama family"),
    ],
)
def test_what_cant_be_fused_is_told(toy_folder, change, reason):
    changed = change(load(toy_folder))
    base = changed.get_base_model() if hasattr(changed, "get_base_model") else changed
    assert reason in explain_unfused(base)


def test_a_model_that_cant_be_fused_is_refused(toy_folder):
    model = load(toy_folder)
    model.config.hidden_act = "gelu"
    with pytest.raises(ModelError, match="can't compute this model: its activation"):
        score(model, build_forest(branching_rows()), engine="fused")
    with pytest.raises(ExactnessError, match="engine fused can't be used: its activation"):
        choose_engine(model, range(10, 50), engine="fused")
    assert choose_engine(model, range(10, 50), engine="auto") == "forest"


def test_blocks_that_are_wrong_are_found_at_load(toy_folder, monkeypatch):
    """The update counts in the check although it starts at zero."""
    model = add_adapter(load(toy_folder), AdapterSettings(rank=4), seed=1, base_name=str(toy_folder))
    ids = range(10, 50)
    assert choose_engine(model, ids, engine="auto") == "fused"
    real = blocks.apply_linear

    def forgets_the_update(x, modules, residual=None):
        return real(x, [getattr(module, "base_layer", module) for module in modules], residual=residual)

    monkeypatch.setattr(blocks, "apply_linear", forgets_the_update)
    assert choose_engine(model, ids, engine="auto") == "forest"
    with pytest.raises(ExactnessError, match="differs from plain by"):
        choose_engine(model, ids, engine="fused")
    ups = [value for name, value in model.named_parameters() if "lora_B" in name]
    assert not any(up.any() for up in ups)


def test_the_check_draws_no_dropout(toy_folder):
    model = adapt(load(toy_folder, torch.float32), dropout=0.5).train()
    assert choose_engine(model, range(10, 50), engine="auto") == "forest"
    assert model.training


def test_the_check_takes_the_precision_of_products(toy_folder):
    assert exactness._precision(load(toy_folder, torch.bfloat16)) == "bf16"
    assert exactness._precision(load(toy_folder)) == "fp64"
    model = load(toy_folder, torch.float32)
    assert exactness._precision(model) == "fp32"
    with torch.autocast("cpu", torch.bfloat16):
        assert exactness._precision(model) == "bf16"
