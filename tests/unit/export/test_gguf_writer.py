"""What GGUF files hold, and which weights are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adatta.core.errors import ExportError
from adatta.export.gguf_writer import check_folder
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import LlamaCppEngine
from tests.toys.exports import edit_json, make_job, write_toy

pytestmark = pytest.mark.torch
IDS = (5, 77, 130, 8, 301, 42, 350, 16, 23, 99, 250, 311)


@pytest.fixture
def folder(toy_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_folder, tmp_path / "model"))


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


def test_bf16_weights_are_read(folder: Path, tmp_path: Path) -> None:
    weights = {key: weight.bfloat16() for key, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert largest_difference(folder, write_toy(folder, tmp_path)) < 0.02


@pytest.mark.parametrize(("mixture", "kind"), [("f16", Kind.F16), ("q8_0", Kind.Q8_0)])
def test_matrices_have_the_format_and_vectors_stay_fp32(folder, tmp_path, mixture: str, kind: Kind) -> None:
    (folder / "README.md").write_text("---\nlanguage: it\nlicense: apache-2.0\n---\nTesto\n")
    reader = GGUFReader(write_toy(folder, tmp_path, mixture, name="prova"))
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    assert {kind for name, kind in kinds.items() if "norm" in name} == {Kind.F32}
    assert {kind for name, kind in kinds.items() if "norm" not in name} == {kind}
    assert "output.weight" not in kinds  # the head is tied
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.name"] == "prova"
    assert fields["general.license"] == "apache-2.0"
    assert fields["tokenizer.chat_template"] == (folder / "chat_template.jinja").read_text()


def test_system_prompt_of_the_chain_is_in_the_template(folder: Path, tmp_path: Path) -> None:
    reader = GGUFReader(write_toy(folder, tmp_path, system_prompt="Rispondi in italiano."))
    assert "Rispondi in italiano." in reader.fields["tokenizer.chat_template"].contents()


def test_rows_that_blocks_of_32_do_not_divide_stay_f16(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for key in list(weights):
        if "mlp" in key:
            weights[key] = (weights[key][:, :48] if "down" in key else weights[key][:48]).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_json(folder / "config.json", intermediate_size=48)
    path = write_toy(folder, tmp_path, "q8_0")
    kinds = {tensor.name: tensor.tensor_type for tensor in GGUFReader(path).tensors}
    assert kinds["blk.0.ffn_down.weight"] == Kind.F16
    assert kinds["blk.0.ffn_up.weight"] == Kind.Q8_0


def test_an_architecture_that_is_not_written_is_refused_before_training(architecture_folders) -> None:
    folder = architecture_folders["olmo2"]
    with pytest.raises(ExportError, match="GGUF export of 'olmo2' models isn't possible"):
        check_folder(folder, chat=make_job(folder, folder).chat)


def test_weight_without_a_place_is_refused(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.gate.weight"] = torch.zeros(4, 4)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"self_attn\.gate\.weight' has no place"):
        write_toy(folder, tmp_path)


def test_weight_too_large_for_16_bits_is_refused(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = 70000.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"layers\.1\.mlp\.up_proj\.weight' doesn't fit"):
        write_toy(folder, tmp_path)


def test_weights_in_several_files_are_all_written(folder: Path, tmp_path: Path) -> None:
    whole = write_toy(folder, tmp_path).read_bytes()
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[:9], names[9:])):
        save_file({key: weights[key] for key in part}, folder / f"model-{number}.safetensors")
    parts = GGUFReader(write_toy(folder, tmp_path))
    (tmp_path / "whole.gguf").write_bytes(whole)
    expected = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "whole.gguf").tensors}
    assert {tensor.name for tensor in parts.tensors} == set(expected)
    for tensor in parts.tensors:
        np.testing.assert_array_equal(tensor.data, expected[tensor.name])
