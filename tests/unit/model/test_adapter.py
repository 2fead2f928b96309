"""Adapters: created, saved, loaded; the 4-bit base."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel

from adatta.core.errors import ModelError, RecipeError
from adatta.core.settings import AdapterSettings
from adatta.model import adapter
from adatta.model.adapter import load_base, load_trainable, load_trained, save_trained
from adatta.model.files import locate
from adatta.model.forest import build_forest
from adatta.model.score import score
from tests.toys.rows import branching_rows

pytestmark = pytest.mark.torch

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def new(folder, *, method="lora", seed=5, precision="fp32", **settings):
    return load_trainable(
        folder, method=method, settings=AdapterSettings(**settings), precision=precision, seed=seed
    )


def disturb(trainable):
    """Stand in for training: move every trained weight."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in trainable.parameters().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


MORE = {
    "lora": {},
    "dora": {"dora": True},
    "also": {"also": ("embeddings", "norms")},
    "all": {"dora": True, "also": ("embeddings", "norms")},
}


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_else_is_trained_is_wide_and_comes_back(toy_folders, tmp_path, name, tied, method, precision):
    """Trained weights are fp32 and get a gradient; saved and loaded the model is the same; `plain` agrees."""
    folder = toy_folders["llama", tied]
    trainable = new(folder, method=method, precision=precision, **MORE[name])
    parameters = trainable.parameters()
    assert all(value.dtype == torch.float32 for value in parameters.values())
    base = [key for key in parameters if ".lora_" not in key]
    assert len(base) == (2 * 2 + 1 + (1 if tied else 2) if "also" in MORE[name] else 0)
    with trainable.model.disable_adapter():
        pass
    assert trainable.parameters().keys() == parameters.keys()
    disturb(trainable)
    forest = build_forest(branching_rows())
    logp_S = score(trainable.model, forest)
    logp_S.sum().backward()
    assert all(value.grad.dtype == torch.float32 for value in parameters.values())
    assert all(value.grad.abs().sum() > 0 for value in parameters.values())
    tolerance = 1e-4 if precision == "fp32" else 0.2
    assert (score(trainable.model, forest, engine="plain") - logp_S).abs().max() < tolerance
    save_trained(trainable, tmp_path)
    back = load_trained(folder, tmp_path, method=method, precision=precision)
    assert torch.equal(score(back.model, forest), logp_S)
    if base:
        with pytest.raises(ModelError, match="use the stage's merged model"):
            locate(str(tmp_path))


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_new_adapter_changes_nothing(toy_folder, precision, name):
    forest = build_forest(branching_rows())
    trainable = new(toy_folder, precision=precision, **MORE[name])
    with_adapter = score(trainable.model, forest)
    with trainable.model.disable_adapter():
        assert torch.equal(with_adapter, score(trainable.model, forest))
    base_S = score(load_base(toy_folder, method="lora", precision=precision).model, forest)
    assert torch.equal(with_adapter, base_S)


def test_the_start_follows_the_seed_alone(toy_folder):
    first, other = new(toy_folder, seed=5), new(toy_folder, seed=6)
    torch.manual_seed(77)
    before = torch.get_rng_state()
    second = new(toy_folder, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    for name, value in first.parameters().items():
        assert torch.equal(value, second.parameters()[name])
    assert any(not torch.equal(value, other.parameters()[name]) for name, value in first.parameters().items())


def test_all_linear_means_all_but_the_head(toy_folders):
    trained = new(toy_folders["llama", False]).parameters()
    assert {name.split(".")[-4] for name in trained} == LINEAR
    assert all(value.dtype == torch.float32 for value in trained.values())


def test_targets_can_be_named(toy_folder):
    trained = new(toy_folder, targets=("q_proj", "v_proj")).parameters()
    assert {name.split(".")[-4] for name in trained} == {"q_proj", "v_proj"}


@pytest.mark.parametrize("targets", [("q_proj", "query"), ("lm_head",), ()])
def test_a_target_that_is_no_layer_is_refused_with_the_names(toy_folder, targets):
    with pytest.raises(RecipeError, match="linear layers are down_proj, gate_proj"):
        new(toy_folder, targets=targets)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8 / 16), (True, 8 / 4)])
def test_the_scale_is_alpha_by_rank_or_by_its_root(toy_folder, rslora, scale):
    layer = new(toy_folder, rank=16, alpha=8, rslora=rslora).model.get_submodule(
        "base_model.model.model.layers.0.mlp.up_proj"
    )
    assert layer.scaling == {"default": scale}


@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_what_is_saved_comes_back(toy_folders, tmp_path, method):
    folder = toy_folders["qwen2", True]
    trainable = new(folder, method=method, rslora=True)
    disturb(trainable)
    save_trained(trainable, tmp_path)
    forest = build_forest(branching_rows())
    back = load_trained(folder, tmp_path, method=method, precision="fp32")
    assert torch.equal(score(back.model, forest), score(trainable.model, forest))


def test_saved_adapters_are_the_same_bytes_and_peft_reads_them(toy_folder, tmp_path):
    for name in ("a", "b"):
        trainable = new(toy_folder)
        disturb(trainable)
        save_trained(trainable, tmp_path / name)
    for file in (adapter.ADAPTER_CONFIG, adapter.ADAPTER_WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    config = json.loads((tmp_path / "a" / adapter.ADAPTER_CONFIG).read_text(encoding="utf-8"))
    assert config["target_modules"] == sorted(LINEAR)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):  # a model alone, without our filter
        theirs = PeftModel.from_pretrained(
            load_base(toy_folder, method="lora", precision="fp32").model, str(tmp_path / "a")
        )
    forest = build_forest(branching_rows())
    assert torch.equal(score(theirs, forest), score(trainable.model, forest))


def test_qlora_keeps_the_base_dequantised_only_where_memory_allows(toy_folder, monkeypatch):
    kept = new(toy_folder, method="qlora")
    monkeypatch.setattr(adapter, "free_bytes", lambda: 0)
    packed = new(toy_folder, method="qlora")
    assert (kept.base, packed.base) == ("dequantised", "four-bit")
    for trainable in (kept, packed):
        disturb(trainable)
    forest = build_forest(branching_rows())
    ours, theirs = score(kept.model, forest), score(packed.model, forest)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    for total in (ours.sum(), theirs.sum()):
        total.backward()
    for name, value in kept.parameters().items():
        gradient = packed.parameters()[name].grad
        assert (value.grad - gradient).norm() <= 1e-5 * gradient.norm()


def test_full_training_in_bf16_keeps_fp32_weights(toy_folder):
    trainable = new(toy_folder, method="full", precision="bf16")
    assert all(value.dtype == torch.float32 for value in trainable.parameters().values())
    with trainable.computing():
        loss = score(trainable.model, build_forest(branching_rows())).sum()
    loss.backward()
    assert all(value.grad.dtype == torch.float32 for value in trainable.parameters().values())
