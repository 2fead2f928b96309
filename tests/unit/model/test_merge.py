"""Merges: right for every method and head, and seen to be wrong when something is broken."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from adatta.core.errors import ExactnessError, ModelError
from adatta.core.settings import AdapterSettings
from adatta.model import merge as merging
from adatta.model import merge_check
from adatta.model.adapter import linear_layers, load_trainable, save_trained
from adatta.model.files import ALSO_WEIGHTS
from adatta.model.forest import build_forest
from adatta.model.load import load_model
from adatta.model.merge import MergeJob, merge
from adatta.model.merge_check import check_ties
from adatta.model.quantise import nf4_round_trip
from adatta.model.score import score
from tests.toys.models import ARCHITECTURES
from tests.toys.rows import branching_rows, conversations

pytestmark = pytest.mark.torch

PROBE = [group[0] for group in conversations(30)]
RANK, ALPHA = 4, 16


@pytest.fixture
def trained(toy_folders, architecture_folders, tmp_path):
    """Return a function that trains (by moving weights) and returns a merge job and the trained model."""

    def make(method, *, family="llama", tied=True, into="full", precision="fp32", **more):
        folder = toy_folders[family, tied] if tied is not None else architecture_folders[family]
        settings = AdapterSettings(rank=RANK, alpha=ALPHA, rslora=True, **more)
        trainable = load_trainable(folder, method=method, settings=settings, precision=precision, seed=1)
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for parameter in trainable.parameters().values():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        save_trained(trainable, tmp_path / "adapter")
        job = MergeJob(
            base_folder=folder,
            trained_folder=tmp_path / "adapter",
            out_folder=tmp_path / "model",
            into=into,
            method=method,
            precision=precision,
            probe=PROBE,
            held_out=[(row,) for row in PROBE[:4]],
            held_out_bytes=200,
        )
        return job, trainable

    return make


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("method", "into"), [("qlora", "dequantised"), ("lora", "full"), ("full", "full"), ("qlora", "full")]
)
def test_the_merged_folder_is_the_trained_model(trained, method, into, tied):
    job, trainable = trained(method, family="qwen2", tied=tied, into=into)
    figures = merge(job)
    forest = build_forest(branching_rows())
    merged = load_model(job.out_folder, torch.float32)
    assert (merged.get_output_embeddings().weight is merged.get_input_embeddings().weight) == tied
    if (method, into) == ("qlora", "full"):
        for name in trainable.quantised:  # what was trained, on the base as it was before 4 bits
            layer = trainable.model.get_submodule(f"base_model.model.{name}.base_layer")
            layer.weight.data = load_model(job.base_folder).get_submodule(name).weight.data
    assert (score(merged, forest) - score(trainable.model, forest)).abs().max() <= 1e-4
    assert figures["log_probs"]["tokens"] > 450
    assert figures["log_probs"]["largest"] <= 1e-4
    assert figures["modules"] == (0 if method == "full" else 14)


MORE = {
    "dora": {"dora": True},
    "embeddings": {"also": ("embeddings",)},
    "norms": {"also": ("norms",)},
    "all": {"dora": True, "also": ("embeddings", "norms")},
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("method", "into"), [("lora", "full"), ("qlora", "dequantised")])
@pytest.mark.parametrize("name", MORE)
def test_what_else_was_trained_is_merged(trained, name, method, into, tied):
    job, trainable = trained(method, family="qwen2", tied=tied, into=into, **MORE[name])
    assert (job.trained_folder / ALSO_WEIGHTS).exists() == ("also" in MORE[name])
    figures = merge(job)
    forest = build_forest(branching_rows())
    merged = load_model(job.out_folder, torch.float32)
    assert (merged.get_output_embeddings().weight is merged.get_input_embeddings().weight) == tied
    assert (score(merged, forest) - score(trainable.model, forest)).abs().max() <= 1e-4
    assert figures["log_probs"]["largest"] <= 1e-4
    assert figures["modules"] == 14
    base, names = load_model(job.base_folder), {key for key, _ in merged.named_parameters()}
    moved = {key for key in names if not torch.equal(merged.get_parameter(key), base.get_parameter(key))}
    opened = {key for key in names if "norm" in key or "embed" in key or "lm_head" in key}
    wanted = set(MORE[name].get("also", ()))
    assert moved & opened == {key for key in opened if ("norms" if "norm" in key else "embeddings") in wanted}


def test_a_merged_weight_of_dora_is_the_moved_direction_at_the_learnt_length_in_float64(trained):
    job, _ = trained("lora", dora=True)
    merge(job)
    base = load_file(job.base_folder / "model.safetensors")
    adapter = load_file(job.trained_folder / "adapter_model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    down_RI, up_OR = (adapter[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "AB")
    moved_OI = base[f"{name}.weight"].double() + ALPHA / RANK**0.5 * up_OR @ down_RI
    length_O = adapter[f"base_model.model.{name}.lora_magnitude_vector"].double()
    merged_OI = load_file(job.out_folder / "model.safetensors")[f"{name}.weight"].double()
    torch.testing.assert_close(merged_OI.square().sum(1).sqrt(), length_O, rtol=1e-6, atol=1e-7)
    cosine_O = (merged_OI * moved_OI).sum(1) / (length_O * moved_OI.square().sum(1).sqrt())
    torch.testing.assert_close(cosine_O, torch.ones_like(cosine_O), rtol=1e-6, atol=0)


def test_a_forgotten_length_is_seen(trained, monkeypatch):
    job, _ = trained("lora", dora=True)
    monkeypatch.setattr(merging, "read_magnitudes", lambda folder: {})
    with pytest.raises(ExactnessError, match="merged layers differ"):
        merge(job)
    monkeypatch.setattr(merge_check, "check_errors", lambda errors: 0.0)
    with pytest.raises(ExactnessError, match="log-probs differ"):
        merge(job)


def test_forgotten_embeddings_are_seen_by_the_whole_model(trained, monkeypatch):
    """The merge reads them once; the model that it is compared with has them from the trained folder."""
    job, _ = trained("lora", also=("embeddings",))
    real = merging._Weight
    monkeypatch.setattr(
        merging,
        "_Weight",
        lambda **parts: (
            real(**{"make": lambda stored: stored.float(), **parts})
            if "recorded" in parts
            else real(base=parts["base"], make=lambda stored: stored.float())
        ),
    )
    with pytest.raises(ExactnessError, match="log-probs differ"):
        merge(job)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_architecture_is_merged(trained, family):
    job, trainable = trained("lora", family=family, tied=None)
    figures = merge(job)
    assert figures["modules"] == len(linear_layers(load_model(job.base_folder)))
    assert figures["log_probs"]["computed_in"] == "float64"
    forest = build_forest(branching_rows())
    learnt = score(trainable.model, forest, engine="plain") - score(load_model(job.base_folder), forest)
    assert learnt.abs().max() > 0.1
    merged = load_model(job.out_folder)
    assert (score(merged, forest) - score(trainable.model, forest, engine="plain")).abs().max() <= 1e-4


def test_a_merged_weight_is_base_plus_scaled_product_in_float64(trained):
    job, _ = trained("lora")
    merge(job)
    base = load_file(job.base_folder / "model.safetensors")
    adapter = load_file(job.trained_folder / "adapter_model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    down_RI, up_OR = (adapter[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "AB")
    expected_OI = base[f"{name}.weight"].double() + ALPHA / RANK**0.5 * up_OR @ down_RI
    merged_OI = load_file(job.out_folder / "model.safetensors")[f"{name}.weight"]
    torch.testing.assert_close(merged_OI.double(), expected_OI, rtol=1e-6, atol=1e-7)


def test_dequantised_takes_every_layer_through_four_bits(toy_folder, trained):
    job, _ = trained("qlora", into="dequantised")
    config = json.loads((job.trained_folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["target_modules"]
    weights = load_file(job.trained_folder / "adapter_model.safetensors")
    kept = {name: value for name, value in weights.items() if "q_proj" in name}
    save_file(kept, job.trained_folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config["target_modules"] = ["q_proj"]
    (job.trained_folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    merge(job)
    name = "model.layers.0.self_attn.v_proj.weight"
    base_OI = load_file(toy_folder / "model.safetensors")[name]
    assert torch.equal(load_file(job.out_folder / "model.safetensors")[name], nf4_round_trip(base_OI))


def test_cost_of_quantisation_is_measured_and_warned(trained, tmp_path):
    job, _ = trained("qlora")
    cost = merge(job)["quantisation"]
    assert cost["difference"] == pytest.approx(cost["merged"] - cost["as_trained"])
    merged = load_model(job.out_folder, torch.float32)
    nats = sum(-float(score(merged, build_forest([row])).detach().double().sum()) for row in PROBE[:4])
    assert cost["merged"] == pytest.approx(nats / 0.6931471805599453 / 200)
    dear = merge(dataclasses.replace(job, held_out_bytes=1))
    assert bool(dear["warnings"]) == (dear["quantisation"]["difference"] > merging.COST_LIMIT)
    same = merge(dataclasses.replace(job, into="dequantised"))
    assert abs(same["quantisation"]["difference"]) < 1e-5
    assert not same["warnings"]


def test_the_folder_is_complete(trained):
    job, _ = trained("lora")
    merge(dataclasses.replace(job, template="{{ 'mio' }}", stop_ids=(2, 0)))
    names = {path.name for path in job.out_folder.iterdir()}
    assert names == {path.name for path in job.base_folder.iterdir()}
    assert (job.out_folder / "chat_template.jinja").read_text(encoding="utf-8") == "{{ 'mio' }}"
    generation = json.loads((job.out_folder / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [2, 0]
    assert load_file(job.out_folder / "model.safetensors")["model.norm.weight"].dtype == torch.float32


def test_a_bf16_base_stays_bf16(trained, tmp_path):
    job, _ = trained("lora")
    narrow = tmp_path / "narrow"
    shutil.copytree(job.base_folder, narrow)
    weights = {name: value.bfloat16() for name, value in load_file(narrow / "model.safetensors").items()}
    save_file(weights, narrow / "model.safetensors", metadata={"format": "pt"})
    figures = merge(dataclasses.replace(job, base_folder=narrow))
    assert figures["log_probs"]["largest"] <= 1e-4
    assert {value.dtype for value in load_file(job.out_folder / "model.safetensors").values()} == {
        torch.bfloat16
    }


def broken_scale(job, monkeypatch):
    config = job.trained_folder / "adapter_config.json"
    real = merging.read_updates

    def doubled(folder):
        return {name: (lambda make=make: 2 * make()) for name, make in real(folder).items()}

    assert config.exists()
    monkeypatch.setattr(merging, "read_updates", doubled)


def forgotten_rslora(job, monkeypatch):
    real = merging.read_updates

    def plain(folder):
        return {name: (lambda make=make: make() / RANK**0.5) for name, make in real(folder).items()}

    monkeypatch.setattr(merging, "read_updates", plain)


def transposed(job, monkeypatch):
    real = merging.read_updates

    def turned(folder):
        def turn(make):
            delta_OI = make()
            return delta_OI.T if delta_OI.shape[0] == delta_OI.shape[1] else delta_OI

        return {name: (lambda make=make: turn(make)) for name, make in real(folder).items()}

    monkeypatch.setattr(merging, "read_updates", turned)


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("breakage", [broken_scale, forgotten_rslora, transposed])
def test_a_broken_update_is_seen_by_the_layers(trained, monkeypatch, breakage, method):
    job, _ = trained(method)
    breakage(job, monkeypatch)
    with pytest.raises(ExactnessError, match="merged layers differ"):
        merge(job)
    assert not job.out_folder.exists()


@pytest.mark.parametrize("breakage", [broken_scale, forgotten_rslora, transposed])
def test_a_broken_update_is_seen_by_the_whole_model(trained, monkeypatch, breakage):
    job, _ = trained("lora")
    breakage(job, monkeypatch)
    monkeypatch.setattr(merge_check, "check_errors", lambda errors: 0.0)
    with pytest.raises(ExactnessError, match="log-probs differ"):
        merge(job)


@pytest.mark.parametrize("tied", [True, False])
def test_a_broken_tie_is_seen(trained, tied):
    job, _ = trained("lora", tied=tied)
    merge(job)
    check_ties(job.base_folder, job.out_folder)
    weights = load_file(job.out_folder / "model.safetensors")
    if tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    else:
        del weights["lm_head.weight"]
    save_file(weights, job.out_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExactnessError, match="tie"):
        check_ties(job.base_folder, job.out_folder)


def test_little_memory_leaves_out_the_whole_model_only(trained, monkeypatch):
    job, _ = trained("lora")
    monkeypatch.setattr(merging, "available_bytes", lambda: 0)
    figures = merge(job)
    assert figures["log_probs"] is None
    assert figures["largest_module_error"] <= 1e-5


def test_an_adapter_of_another_kind_is_refused(trained):
    job, _ = trained("lora")
    path = job.trained_folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "alpha_pattern": {"q_proj": 3}}), encoding="utf-8")
    with pytest.raises(ModelError, match="alpha_pattern"):
        merge(job)
