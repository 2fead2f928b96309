"""What GGUF files hold, what llama.cpp computes from them, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adatta.core.errors import ExportError
from adatta.export.formats import gguf_f16, gguf_q8_0
from adatta.export.gguf_writer import check_folder
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import LlamaCppEngine

pytestmark = pytest.mark.torch
IDS = (5, 77, 130, 8, 301, 42, 350, 16, 23, 99, 250, 311)


@pytest.fixture
def folder(toy_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_folder, tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def export(folder: Path, out: Path, form=gguf_f16) -> Path:
    return form.write(folder, out, chat_template="testo è", stop_ids=(0, 2), name="prova")[0]


def largest_difference(folder: Path, path: Path) -> float:
    """Return how far llama.cpp's log-probs of its greedy answer are from transformers' in float64."""
    with LlamaCppEngine(path, context=128, threads=1) as engine:
        answer = list(engine.stream_scored(IDS, Sampling(stop_ids=(), limit=20, seed=0)))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    ids_1T = torch.tensor([[*IDS, *(candidate.id for candidate in answer)]])
    with torch.inference_mode():
        logp_TV = model(ids_1T).logits[0].log_softmax(-1)
    return max(
        abs(float(logp_TV[len(IDS) - 1 + step, candidate.id]) - candidate.logp)
        for step, candidate in enumerate(answer)
    )


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 500.0},
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
)
def test_rotary_positions_are_those_of_the_model(folder: Path, tmp_path: Path, rope: dict) -> None:
    edit_config(folder, rope_parameters=rope)
    path = export(folder, tmp_path)
    assert largest_difference(folder, path) < 0.02
    edit_config(folder, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    assert largest_difference(folder, path) > 0.02  # so it does see them


def test_wide_heads_are_written_as_they_are(tmp_path: Path, toy_folder: Path) -> None:
    """A head may be wider than hidden size / heads (Mistral Nemo)."""
    folder = Path(shutil.copytree(toy_folder, tmp_path / "model"))
    edit_config(folder, head_dim=16)
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    for key in list(weights):
        if "self_attn" in key:
            shape = [32, 64] if "o_proj" in key else [64 if "q_proj" in key else 32, 32]
            weights[key] = torch.randn(shape, generator=generator) / 6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert largest_difference(folder, export(folder, tmp_path)) < 0.02


def test_bf16_weights_are_read(folder: Path, tmp_path: Path) -> None:
    weights = {key: weight.bfloat16() for key, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert largest_difference(folder, export(folder, tmp_path)) < 0.02


@pytest.mark.parametrize(
    ("form", "kind"), [(gguf_f16, GGMLQuantizationType.F16), (gguf_q8_0, GGMLQuantizationType.Q8_0)]
)
def test_matrices_have_the_format_and_vectors_stay_fp32(folder: Path, tmp_path: Path, form, kind) -> None:
    (folder / "README.md").write_text("---\nlanguage: it\nlicense: apache-2.0\n---\nTesto\n")
    reader = GGUFReader(export(folder, tmp_path, form))
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    assert {kind for name, kind in kinds.items() if "norm" in name} == {GGMLQuantizationType.F32}
    assert {kind for name, kind in kinds.items() if "norm" not in name} == {kind}
    assert "output.weight" not in kinds  # the head is tied
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.name"] == "prova"
    assert fields["general.license"] == "apache-2.0"
    assert fields["tokenizer.chat_template"] == "testo è"


def test_rows_that_blocks_of_32_do_not_divide_stay_f16(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for key in list(weights):
        if "mlp" in key:
            weights[key] = (weights[key][:, :48] if "down" in key else weights[key][:48]).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, intermediate_size=48)
    kinds = {
        tensor.name: tensor.tensor_type for tensor in GGUFReader(export(folder, tmp_path, gguf_q8_0)).tensors
    }
    assert kinds["blk.0.ffn_down.weight"] == GGMLQuantizationType.F16
    assert kinds["blk.0.ffn_up.weight"] == GGMLQuantizationType.Q8_0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma"}, "of 'gemma' models isn't possible"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
            "'yarn' rotary positions isn't possible",
        ),
        ({"model_type": "mistral", "sliding_window": 16}, "looks back over 16 tokens only"),
    ],
)
def test_what_llama_cpp_would_compute_differently_is_refused(
    folder: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    edit_config(folder, **changes)
    with pytest.raises(ExportError, match=message):
        export(folder, tmp_path)


def test_an_architecture_that_is_not_written_is_refused_before_training(architecture_folders) -> None:
    with pytest.raises(ExportError, match="GGUF export of 'olmo2' models isn't possible"):
        check_folder(architecture_folders["olmo2"], stop_ids=(2,))


def test_weight_without_a_place_is_refused(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.gate.weight"] = torch.zeros(4, 4)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"self_attn\.gate\.weight' has no place"):
        export(folder, tmp_path)


def test_weight_too_large_for_16_bits_is_refused(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = 70000.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"layers\.1\.mlp\.up_proj\.weight' doesn't fit"):
        export(folder, tmp_path)


def test_weights_in_several_files_are_all_written(folder: Path, tmp_path: Path) -> None:
    whole = export(folder, tmp_path).read_bytes()
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[:9], names[9:])):
        save_file({key: weights[key] for key in part}, folder / f"model-{number}.safetensors")
    parts = GGUFReader(export(folder, tmp_path))
    (tmp_path / "whole.gguf").write_bytes(whole)
    expected = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "whole.gguf").tensors}
    assert {tensor.name for tensor in parts.tensors} == set(expected)
    for tensor in parts.tensors:
        np.testing.assert_array_equal(tensor.data, expected[tensor.name])
