"""Types by tensor are llama.cpp's, and so are the bytes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from gguf.quants import dequantize, quantize

from adatta.core.errors import ExportError
from adatta.export import gguf_types
from adatta.export.gguf_types import Mixture, quantise
from tests.toys.exports import write_toy
from tests.toys.models import toy_wide

pytestmark = pytest.mark.torch
PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
# Layers of 32 whose attn_v and ffn_down get more bits, as they stand in every Q4_K_M file of Llama 3 8B.
MORE = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31}


def mix(name: str, *, layers: int = 32, **others: Any) -> Mixture:
    usual = {"is_tied": False, "is_70b": False, "has_importance": False}
    return Mixture(name=name, layers=layers, **{**usual, **others})


def chosen(mixture: Mixture, part: str, width: int = 4096) -> list[str]:
    return [mixture.choose(f"blk.{layer}.{part}.weight", (64, width)).name for layer in range(mixture.layers)]


@pytest.mark.parametrize(("name", "plain"), [("q4_k_m", "Q4_K"), ("q5_k_m", "Q5_K")])
def test_mixtures_give_more_bits_to_the_layers_that_llama_cpp_does(name: str, plain: str) -> None:
    for part in PARTS:
        touchy = part in ("attn_v", "ffn_down")
        expected = ["Q6_K" if touchy and layer in MORE else plain for layer in range(32)]
        assert chosen(mix(name), part) == expected
    assert chosen(mix(name), "attn_qkv") == chosen(mix(name), "attn_v")  # Phi-3


def test_few_layers_have_no_outer_eighth_at_the_front() -> None:
    """Of 26 layers (Gemma 2 2B): 26 // 8 = 3 in front, from 22 on at the back, every third between."""
    found = chosen(mix("q4_k_m", layers=26), "ffn_down")
    assert [layer for layer, kind in enumerate(found) if kind == "Q6_K"] == [
        *(0, 1, 2, 5, 8, 11, 14, 17, 20, 22, 23, 24, 25)
    ]


def test_output_and_shared_embedding_get_six_bits() -> None:
    for tied, name in ((False, "output.weight"), (True, "token_embd.weight")):
        assert mix("q4_k_m", is_tied=tied).choose(name, (1000, 4096)) == Kind.Q6_K
        assert mix("q8_0", is_tied=tied).choose(name, (1000, 4096)) == Kind.Q8_0
        assert mix("q4_k_m", is_tied=tied).choose(name, (1000, 576)) == Kind.Q8_0
        assert mix("q4_0", is_tied=tied).choose(name, (1000, 576)) == Kind.Q8_0
    assert mix("q4_k_m").choose("token_embd.weight", (1000, 4096)) == Kind.Q4_K


def test_values_shared_by_eight_query_heads_in_80_layers_get_five_bits() -> None:
    found = chosen(mix("q4_k_m", layers=80, is_70b=True), "attn_v")
    assert Counter(found) == {"Q5_K": 40, "Q6_K": 40}
    assert "Q5_K" not in chosen(mix("q4_k_m", layers=80, is_70b=True), "ffn_down")


def test_q4_0_guards_the_first_eighth_when_columns_are_weighed() -> None:
    found = chosen(mix("q4_0", has_importance=True), "ffn_down")
    assert found == ["Q4_1"] * 4 + ["Q4_0"] * 28
    assert set(chosen(mix("q4_0"), "ffn_down")) == {"Q4_0"}


@pytest.mark.parametrize(
    ("name", "width", "kind"),
    [
        *(("q4_k_m", 576, "Q5_0"), ("q5_k_m", 576, "Q5_1"), ("q6_k", 576, "Q8_0"), ("q6_k", 512, "Q6_K")),
        *(
            ("q4_k_m", 48, "F16"),
            ("q8_0", 48, "F16"),
            ("q4_0", 48, "F16"),
            ("f16", 48, "F16"),
            ("f32", 48, "F32"),
        ),
    ],
)
def test_rows_that_blocks_do_not_divide_fall_back_as_in_llama_cpp(name: str, width: int, kind: str) -> None:
    assert mix(name).choose("blk.5.ffn_up.weight", (64, width)).name == kind
    assert mix(name).choose("blk.5.ffn_norm.weight", (width,)) == Kind.F32


def test_types_are_those_of_a_file_that_llama_cpp_made(embedded_path: Path) -> None:
    """The embedded file is Q4_1, which differs from Q4_0 in nothing else."""
    mixture = mix("q4_0", layers=30, is_tied=True)
    for tensor in GGUFReader(embedded_path).tensors:
        expected = tensor.tensor_type.name.replace("Q4_1", "Q4_0")
        assert mixture.choose(tensor.name, tuple(map(int, tensor.shape[::-1]))).name == expected


def test_bytes_are_those_of_a_file_that_llama_cpp_made(embedded_path: Path) -> None:
    """What llama.cpp quantised comes out of it again when it is dequantised and quantised anew."""
    tensors = {tensor.name: tensor for tensor in GGUFReader(embedded_path).tensors}
    embedding = tensors["token_embd.weight"]
    rows = embedding.data[:2000]
    weight = np.asarray(dequantize(rows, embedding.tensor_type), dtype=np.float32)
    np.testing.assert_array_equal(quantise(weight, Kind.Q8_0, importance=None), rows)


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1])
def test_bytes_are_those_of_the_gguf_package(kind: Kind) -> None:
    weight = np.random.default_rng(3).normal(size=(24, 512)).astype(np.float32)
    np.testing.assert_array_equal(quantise(weight, kind, importance=None), quantize(weight, kind))


@pytest.mark.parametrize(("kind", "limit"), [(Kind.Q4_K, 0.08), (Kind.Q5_K, 0.04), (Kind.Q6_K, 0.02)])
def test_blocks_of_256_are_read_back_by_the_gguf_package(kind: Kind, limit: float) -> None:
    weight = np.random.default_rng(3).normal(size=(8, 512)).astype(np.float32)
    back = dequantize(quantise(weight, kind, importance=None), kind)
    assert 0 < np.sqrt(np.mean((back - weight) ** 2)) < limit


def test_importance_moves_errors_to_columns_that_matter_less() -> None:
    weight = np.random.default_rng(3).normal(size=(64, 256)).astype(np.float32)
    importance = np.where(np.arange(256) % 2, 1.0, 0.01).astype(np.float32)
    errors = [
        ((dequantize(quantise(weight, Kind.Q4_K, importance=given), Kind.Q4_K) - weight) ** 2)[:, 1::2].mean()
        for given in (None, importance)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_a_wide_model_has_the_types_of_its_name(tmp_path: Path) -> None:
    folder = toy_wide(tmp_path / "model", layers=8)
    kinds = {
        tensor.name: tensor.tensor_type.name
        for tensor in GGUFReader(write_toy(folder, tmp_path, "q4_k_m")).tensors
        if len(tensor.shape) > 1
    }
    touchy = {f"blk.{layer}.{part}.weight" for layer in (0, 3, 6, 7) for part in ("attn_v", "ffn_down")}
    assert {name for name, kind in kinds.items() if kind == "Q6_K"} == {*touchy, "output.weight"}
    assert set(kinds.values()) == {"Q4_K", "Q6_K"}


def test_a_build_without_its_quantiser_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gguf_types._quantiser.cache_clear()
    monkeypatch.setattr(gguf_types.ctypes, "CDLL", lambda path: object())
    with pytest.raises(ExportError, match="doesn't show ggml_quantize_chunk"):
        quantise(np.ones((1, 256), dtype=np.float32), Kind.Q4_K, importance=None)
    gguf_types._quantiser.cache_clear()
