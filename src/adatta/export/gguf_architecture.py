"""Architectures as llama.cpp has them: names and sizes in GGUF, and what it would compute differently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
import torch
from gguf import MODEL_ARCH
from numpy.typing import NDArray
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from adatta.core.errors import ExportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What llama.cpp does for an architecture.

    `ropes` are the kinds of rotary positions that it computes. In q and k, `pairs` puts the two numbers of a
    rotation side by side. `is_gemma`: norms multiply by 1 + weight, local and global layers take turns,
    logits are capped as in Gemma 2. `wide_layers` is the depth of the one size whose attention is scaled by
    hidden size over heads.
    """

    name: MODEL_ARCH
    ropes: tuple[str, ...] = ("default", "linear", "yarn")
    activation: str = "silu"
    pairs: bool = False
    is_gemma: bool = False
    wide_layers: int = 0


_LLAMA = Family(name=MODEL_ARCH.LLAMA, ropes=("default", "linear", "yarn", "llama3"), pairs=True)
_GEMMA = {"ropes": ("default", "linear"), "activation": "gelu_pytorch_tanh", "is_gemma": True}
FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family(name=MODEL_ARCH.QWEN2),
    "qwen3": Family(name=MODEL_ARCH.QWEN3),
    "gemma2": Family(name=MODEL_ARCH.GEMMA2, wide_layers=46, **_GEMMA),  # type: ignore[arg-type]
    "gemma3_text": Family(name=MODEL_ARCH.GEMMA3, wide_layers=62, **_GEMMA),  # type: ignore[arg-type]
    "phi3": Family(name=MODEL_ARCH.PHI3, ropes=("default", "longrope")),
}
_YARN = {"rope_type", "rope_theta", "factor", "original_max_position_embeddings"}


def check_exportable(config: Any) -> Family:
    """Return the family of a configuration of transformers.

    Raises:
        ExportError: naming what llama.cpp doesn't have, or would compute differently.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ExportError(
            f"GGUF export of {config.model_type!r} models isn't possible; supported: {', '.join(FAMILIES)}. "
            "Export safetensors instead"
        )
    if faults := list(_find_faults(config, family)):
        raise ExportError(
            f"GGUF export of this {config.model_type!r} model isn't possible: llama.cpp doesn't compute "
            f"{', '.join(faults)}. Export safetensors instead"
        )
    return family


def _find_faults(config: Any, family: Family) -> Iterator[str]:
    """Yield what llama.cpp would compute differently."""
    rope = _global_rope(config)
    if (kind := rope.get("rope_type", "default")) not in family.ropes:
        yield f"{kind!r} rotary positions for it"
    if kind == "yarn" and (odd := {key for key in rope if rope[key] is not None} - _YARN):
        yield f"yarn with {', '.join(sorted(odd))}"
    if _local_rope(config).get("rope_type", "default") != "default":
        yield "scaled positions in local layers"
    if family.name != MODEL_ARCH.PHI3 and _rotated(config) != head_dim(config):
        yield "rotary positions on a part of each head"
    if family.name == MODEL_ARCH.PHI3 and head_dim(config) * config.num_attention_heads != config.hidden_size:
        yield "heads that are wider or narrower than hidden size / heads"
    activation = getattr(config, "hidden_activation", None) or config.hidden_act
    if activation != family.activation:
        yield f"the activation {activation}"
    if family.is_gemma:
        wide = config.num_hidden_layers == family.wide_layers
        scale = config.hidden_size // config.num_attention_heads if wide else head_dim(config)
        if config.query_pre_attn_scalar != scale:
            yield f"query_pre_attn_scalar {config.query_pre_attn_scalar}, but {scale}"
        caps = (config.attn_logit_softcapping, config.final_logit_softcapping)
        if any((cap is None) == (family.name == MODEL_ARCH.GEMMA2) for cap in caps):
            yield f"the soft caps {caps}"
        if config.layer_types != _turns(config):
            yield f"the order of local and global layers {config.layer_types}"


def _global_rope(config: Any) -> dict[str, Any]:
    return dict(config.rope_parameters.get("full_attention", config.rope_parameters))


def _local_rope(config: Any) -> dict[str, Any]:
    return dict(config.rope_parameters.get("sliding_attention", {}))


def head_dim(config: Any) -> int:
    """Return the width of an attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _rotated(config: Any) -> int:
    return int(head_dim(config) * _global_rope(config).get("partial_rotary_factor", 1.0))


def _period(config: Any) -> int:
    """Return after how many layers a global one comes again."""
    kinds = config.layer_types
    return kinds.index("full_attention") + 1 if "full_attention" in kinds else 0


def _turns(config: Any) -> list[str]:
    """Return the kinds of layers as llama.cpp makes them from the period."""
    period = _period(config)
    is_global = [bool(period) and layer % period == period - 1 for layer in range(config.num_hidden_layers)]
    return ["full_attention" if each else "sliding_attention" for each in is_global]


def context_length(config: Any, family: Family) -> int:
    """Return how long a text may be for llama.cpp to compute what the model does.

    Only for Gemma does it leave out what lies behind a sliding window, and Phi-3's `longrope` changes its
    factors with the context that is set, not with the text: up to that border both do the same.
    """
    rope, longest = _global_rope(config), config.max_position_embeddings
    if rope.get("rope_type") == "longrope":
        longest = rope["original_max_position_embeddings"]
    window = getattr(config, "sliding_window", None)
    slides = window and "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    return int(min(longest, window) if slides and not family.is_gemma else longest)


def add_shape(writer: gguf.GGUFWriter, config: Any, *, family: Family) -> None:
    """Write the network's sizes."""
    rope = _global_rope(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(context_length(config, family))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(_rotated(config))
    writer.add_rope_freq_base(rope["rope_theta"])
    if (kind := rope.get("rope_type", "default")) in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "longrope":
        writer.add_rope_scaling_attn_factors(ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))[1])
    if family.is_gemma:
        writer.add_sliding_window(config.sliding_window)
        writer.add_sliding_window_pattern(_period(config))
        writer.add_rope_freq_base_swa(_local_rope(config).get("rope_theta", rope["rope_theta"]))
    if family.name == MODEL_ARCH.GEMMA2:
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def rope_tensors(config: Any) -> dict[str, NDArray[np.float32]]:
    """Return by what frequencies of rotations are divided, where that differs between them, by name."""
    rope = _global_rope(config)
    kind = rope.get("rope_type", "default")
    factors: dict[str, Any] = {}
    if kind == "longrope":
        factors = {f"rope_factors_{size}": rope[f"{size}_factor"] for size in ("long", "short")}
    elif kind == "llama3":
        scaled, _ = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
        steps = np.arange(0, head_dim(config), 2) / head_dim(config)
        factors = {"rope_freqs": rope["rope_theta"] ** -steps / scaled.double().numpy()}
    return {f"{name}.weight": np.asarray(values, dtype=np.float32) for name, values in factors.items()}


def convert_weight(weight: NDArray[np.float32], key: str, *, config: Any) -> NDArray[np.float32]:
    """Turn a weight [...] of transformers, by its name, into what llama.cpp expects."""
    family = FAMILIES[config.model_type]
    if family.is_gemma and key.endswith("norm.weight"):
        return _as_factor(weight)
    part = re.search(r"\.(q|k)_proj\.", key)
    if part and family.pairs:
        heads = config.num_attention_heads if part[1] == "q" else config.num_key_value_heads
        return _join_halves(weight, heads)
    return weight


def _as_factor(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a norm [hidden] of Gemma multiplies by."""
    return weight + 1


def _join_halves(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Order the rows of q or k as llama.cpp rotates them: the two numbers of a rotation are neighbours.

    Args:
        weight: [heads * head_dim, ...]; rows i and i + head_dim / 2 of a head rotate together.
        heads: number of heads in it.

    Returns:
        The same rows with 2i and 2i + 1 rotating together.
    """
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)
