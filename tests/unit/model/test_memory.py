"""The estimates against what tensors really take on toys."""

from __future__ import annotations

import json
import math

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize
from transformers import AutoConfig, AutoModelForCausalLM

from adatta.core.records import TokenRow
from adatta.core.settings import AdapterSettings
from adatta.model import head, memory
from adatta.model.adapter import linear_layers, load_trainable
from adatta.model.files import read_config
from adatta.model.forest import build_forest
from adatta.model.memory import ModelShape, available_bytes, train_memory
from adatta.model.score import score
from tests.toys.models import ARCHITECTURES, FAMILIES

pytestmark = pytest.mark.torch

RANK_4, RANK_16 = AdapterSettings(rank=4, alpha=8), AdapterSettings(rank=16, alpha=8)
SMOLLM2 = ModelShape(
    vocabulary=49152,
    hidden=576,
    intermediate=1536,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    tied=True,
)


def shape_of(folder):
    return ModelShape.of(read_config(folder))


def saved_bytes(trainable, tokens):
    """Bytes of distinct storages that autograd keeps for the backward pass, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in trainable.model.parameters()}
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = tuple(3 + 7 * i % 390 for i in range(tokens))
    row = TokenRow(ids=ids, weights=(0.0, *[1.0] * (tokens - 1)), row_id="row")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logp_S = score(trainable.model, build_forest([row], share_prefix=True))
    assert logp_S.requires_grad
    return sum(t.untyped_storage().nbytes() for pointer, t in saved.items() if pointer not in parameters)


def adapter_on(folder, method, precision, settings=RANK_4):
    return load_trainable(folder, method=method, settings=settings, precision=precision, seed=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_right(toy_folders, family, tied):
    model = AutoModelForCausalLM.from_pretrained(toy_folders[family, tied])
    shape = shape_of(toy_folders[family, tied])
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    linear = [model.get_submodule(name).weight.numel() for name in linear_layers(model)]
    assert shape.linear_parameters == sum(linear)


@pytest.mark.parametrize("biases", [{}, {"attention_bias": True, "mlp_bias": True}])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_of_every_architecture_are_counted_right(architecture_folders, tmp_path, name, biases):
    config = AutoConfig.from_pretrained(architecture_folders[name], **biases)
    model = AutoModelForCausalLM.from_config(config)
    config.save_pretrained(tmp_path)
    shape = shape_of(tmp_path)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    sizes = {}
    for layer in linear_layers(model):
        weight = model.get_submodule(layer).weight
        assert sizes.setdefault(layer.rpartition(".")[2], weight.shape) == weight.shape
    assert shape.linear_layers == {layer: (inputs, outputs) for layer, (outputs, inputs) in sizes.items()}


@pytest.mark.parametrize("targets", ["all-linear", ["o_proj", "down_proj"]])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adapters_of_every_architecture_are_counted_right(architecture_folders, name, targets):
    settings = AdapterSettings(rank=3, alpha=8, targets=targets)
    folder = architecture_folders[name]
    trainable = load_trainable(folder, method="lora", settings=settings, precision="fp32", seed=0)
    numbers = sum(p.numel() for p in trainable.parameters().values())
    assert shape_of(folder).adapter_parameters(settings) == numbers


def test_what_a_configuration_leaves_out_is_the_rule_of_its_architecture(tmp_path):
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    for name, tied in (("gemma2", True), ("mistral", False)):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": name, **sizes, **heads}))
        shape = shape_of(tmp_path)
        config = AutoConfig.for_model(name, **sizes, **heads)
        assert shape.tied == tied
        model = AutoModelForCausalLM.from_config(config)
        assert shape.parameters == sum(p.numel() for p in model.parameters())


def test_parameters_of_the_embedded_model_are_those_published():
    assert SMOLLM2.parameters == 134_515_008  # 538,060,032 bytes of weights in its fp32 safetensors file


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_trained_numbers_and_their_optimizer_are_counted_right(toy_folder, targets):
    settings = AdapterSettings(rank=3, alpha=8, targets=targets)
    trainable = load_trainable(toy_folder, method="lora", settings=settings, precision="fp32", seed=0)
    parameters = list(trainable.parameters().values())
    shape = shape_of(toy_folder)
    assert shape.adapter_parameters(settings) == sum(p.numel() for p in parameters)
    optimizer = torch.optim.AdamW(parameters)
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.ndim]
    real = sum(t.nbytes for t in [*moments, *parameters, *(p.grad for p in parameters)])
    estimate = train_memory(shape, method="lora", precision="fp32", adapter=settings, forest_tokens=64)
    assert estimate.trained == real


@pytest.mark.parametrize("tokens", [64, 300])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_estimated_within_four_per_cent(toy_folders, family, precision, tokens):
    folder = toy_folders[family, True]
    real = saved_bytes(adapter_on(folder, "lora", precision), tokens)
    estimate = train_memory(
        shape_of(folder), method="lora", precision=precision, adapter=RANK_4, forest_tokens=tokens
    )
    mask = 4 * (tokens - 1) ** 2 if family == "mistral" else 0  # of its window
    assert math.isclose(estimate.activations + mask, real, rel_tol=0.04)


def test_activations_of_training_all_weights_are_estimated_within_four_per_cent(toy_folder):
    real = saved_bytes(adapter_on(toy_folder, "full", "fp32"), 300)
    shape = shape_of(toy_folder)
    estimate = train_memory(shape, method="full", precision="fp32", adapter=RANK_4, forest_tokens=300)
    assert math.isclose(estimate.activations, real, rel_tol=0.04)
    assert (estimate.weights, estimate.trained) == (0, 16 * shape.parameters)


VARIANTS = {
    "dora": AdapterSettings(rank=4, alpha=8, dora=True),
    "norms": AdapterSettings(rank=4, alpha=8, also=("norms",)),
    "embeddings": AdapterSettings(rank=4, alpha=8, also=("embeddings",)),
    "both": AdapterSettings(rank=4, alpha=8, also=("embeddings", "norms")),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_what_else_is_trained_is_estimated_too(toy_folders, name, precision):
    folder, settings = toy_folders["llama", False], VARIANTS[name]
    trainable = adapter_on(folder, "lora", precision, settings)
    real = saved_bytes(trainable, 300)
    estimate = train_memory(
        shape_of(folder), method="lora", precision=precision, adapter=settings, forest_tokens=300
    )
    assert math.isclose(estimate.activations, real, rel_tol=0.06)
    assert estimate.trained == 16 * sum(value.numel() for value in trainable.parameters().values())
    if precision == "fp32":  # in bf16, norms and embeddings stay as wide as the file has them: here fp32
        frozen = [value for value in trainable.model.parameters() if not value.requires_grad]
        assert estimate.weights == sum(value.nbytes for value in frozen)


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_layers_keep_their_inputs(toy_folders, family):
    """What is kept between forward and backward; a block's own part comes on top while it is recomputed."""
    folder = toy_folders[family, True]
    trainable = adapter_on(folder, "lora", "fp32")
    trainable.model.train()
    trainable.model.get_base_model().activation_checkpointing_enable()
    real = saved_bytes(trainable, 300)
    shape = shape_of(folder)
    whole, recomputed = (
        train_memory(
            shape, method="lora", precision="fp32", adapter=RANK_4, forest_tokens=300, is_recomputed=choice
        ).activations
        for choice in (False, True)
    )
    inputs = (shape.layers + 1) * 4 * 300 * shape.hidden
    block, outside = memory._activation_bytes(shape, "fp32", 300, adapter=RANK_4)
    assert (whole, recomputed) == (outside + shape.layers * block, outside + block + inputs)
    assert inputs < real < outside + inputs < whole / 2


def test_weights_follow_method_and_precision():
    def weights(method, precision):
        return train_memory(
            SMOLLM2, method=method, precision=precision, adapter=RANK_16, forest_tokens=2048
        ).weights

    assert weights("lora", "fp32") == weights("qlora", "fp32") == 538_060_032
    assert weights("lora", "bf16") == 269_030_016


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_gguf_is_counted_to_the_byte(toy_folder, kind):
    model = AutoModelForCausalLM.from_pretrained(toy_folder)
    real = 0
    for p in model.parameters():
        wanted = gguf.GGMLQuantizationType[kind.upper()] if p.ndim == 2 else gguf.GGMLQuantizationType.F32
        real += np.asarray(quantize(p.detach().numpy(), wanted)).nbytes
    assert memory.gguf_bytes(shape_of(toy_folder), kind) == real


def test_logits_are_bounded_by_the_chunk_that_the_head_uses():
    assert memory.LOGITS_CHUNK_BYTES == head.CHUNK_BYTES
    estimate = train_memory(SMOLLM2, method="lora", precision="fp32", adapter=RANK_16, forest_tokens=2048)
    assert estimate.logits == 2 * head.CHUNK_BYTES
    small = train_memory(SMOLLM2, method="lora", precision="fp32", adapter=RANK_16, forest_tokens=10)
    assert small.logits == 2 * 4 * 10 * 49152
    assert estimate.total == estimate.weights + estimate.trained + estimate.activations + estimate.logits


def test_available_memory_is_plausible():
    assert 1 << 26 < available_bytes() < 1 << 50


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"max": "1000\n", "current": "700\n", "stat": "anon 500\ninactive_file 50\nactive_file 20\n"},
            [370],
        ),
        ({"max": "max\n", "current": "700\n", "stat": "anon 500\n"}, []),
        ({}, []),
    ],
)
def test_limit_of_a_container_counts_and_its_file_cache_does_not(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory._group_available(tmp_path) == expected
