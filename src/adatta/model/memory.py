"""Estimates of memory and disk by arithmetic on a model's shape (no torch)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adatta.core.runtime import proc_field
from adatta.core.settings import AdapterSettings

BYTES = {"fp32": 4, "bf16": 2}
LOGITS_CHUNK_BYTES = 64 << 20  # of logits held at once, as `model.head` does
# For each trained number in fp32: itself, its gradient and the two moments of AdamW.
_TRAINED_BYTES = 4 + 4 + 8
_Q8_0_BYTES = 34 / 32  # 32 weights of 8 bits share a scale of 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes that decide how large a model is.

    `other_vectors` counts a block's numbers in biases and in norms beyond two. `is_joined` says whether q, k
    and v are one matrix, and gate and up another (Phi-3).
    """

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    other_vectors: int = 0
    is_joined: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelShape:
        """Return the shape that a complete config.json describes, exact for the architectures known exact."""
        kind, hidden, heads = config["model_type"], config["hidden_size"], config["num_attention_heads"]
        head_dim, inner = config.get("head_dim") or hidden // heads, config["intermediate_size"]
        kv_heads = config.get("num_key_value_heads") or heads
        query, key = heads * head_dim, kv_heads * head_dim
        norms = {"gemma2": 2 * hidden, "gemma3_text": 2 * (hidden + head_dim), "qwen3": 2 * head_dim}
        biases = {"qwen2": query + 2 * key}
        others = (norms | biases | {"olmo2": query + key}).get(kind, 0)
        if config.get("attention_bias") and kind != "phi3":
            others += hidden + (query + 2 * key if kind != "qwen2" else 0)
        others += 2 * inner + hidden if config.get("mlp_bias") else 0
        return cls(
            vocabulary=config["vocab_size"],
            hidden=hidden,
            intermediate=inner,
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            tied=config.get("tie_word_embeddings", False),
            other_vectors=others,
            is_joined=kind == "phi3",
        )

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear layers of one block."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        hidden, inner = self.hidden, self.intermediate
        back = {"o_proj": (query, hidden), "down_proj": (inner, hidden)}
        if self.is_joined:
            return back | {"qkv_proj": (hidden, query + 2 * key), "gate_up_proj": (hidden, 2 * inner)}
        attention = {"q_proj": (hidden, query), "k_proj": (hidden, key), "v_proj": (hidden, key)}
        return back | attention | {"gate_proj": (hidden, inner), "up_proj": (hidden, inner)}

    @property
    def linear_parameters(self) -> int:
        """Number of weights in the linear layers of all blocks."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def parameters(self) -> int:
        """Number of all parameters, a tied matrix once."""
        return self.linear_parameters + self.embeddings + self.norms + self.layers * self.other_vectors

    @property
    def embeddings(self) -> int:
        """Number of weights of embedding and output matrix, a tied one once."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def norms(self) -> int:
        """Number of weights of the norms."""
        return (2 * self.layers + 1) * self.hidden

    def adapter_parameters(self, adapter: AdapterSettings) -> int:
        """Return the number of parameters of a LoRA adapter: A and B of each target; lengths of DoRA."""
        sizes = self.target_sizes(adapter)
        lengths = sum(outputs for _, outputs in sizes) if adapter.dora else 0
        return self.layers * (adapter.rank * sum(map(sum, sizes)) + lengths)

    def trained_parameters(self, method: str, adapter: AdapterSettings) -> int:
        """Return how many numbers a stage trains; `adapter` is not used with the method `full`."""
        also = {"embeddings": self.embeddings, "norms": self.norms}
        adapted = self.adapter_parameters(adapter) + sum(also[name] for name in adapter.also)
        return self.parameters if method == "full" else adapted

    def target_sizes(self, adapter: AdapterSettings) -> list[tuple[int, int]]:
        """Return inputs and outputs of the linear layers of a block that are adapted.

        A name that isn't known counts as a square matrix: training refuses it, or it is one of an
        architecture that isn't known here.
        """
        layers, square = self.linear_layers, (self.hidden, self.hidden)
        names = layers if isinstance(adapter.targets, str) else adapter.targets
        return [layers.get(name, square) for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainMemory:
    """What training needs, in bytes.

    `weights` is the frozen base, `trained` what is trained with gradients and moments, `activations` what
    the backward pass needs, `logits` the largest chunk of them.
    """

    weights: int
    trained: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it. The libraries, about 0.4 GB, come on top, and holes that malloc leaves between tensors.

        Tensors are within 4% of it on toys. SmolLM2 held 3.6 GB where 2.4 were in use after a forward pass
        (2.6 GB with MALLOC_MMAP_THRESHOLD_=1000000).
        """
        return self.weights + self.trained + self.activations + self.logits


def train_memory(
    shape: ModelShape,
    *,
    method: str,
    precision: str,
    adapter: AdapterSettings,
    forest_tokens: int,
    is_recomputed: bool = False,
) -> TrainMemory:
    """Estimate the memory of a training stage, every forest full and every token scored.

    A 4-bit base is taken to be kept dequantised.

    Args:
        shape: of the model.
        method: `qlora`, `lora` or `full`.
        precision: `fp32` or `bf16`.
        adapter: its settings; not used with `full`.
        forest_tokens: tokens of a forest.
        is_recomputed: whether layers keep their inputs only, and are computed again for their gradient.
    """
    numbers = shape.trained_parameters(method, adapter)
    opened = numbers - (0 if method == "full" else shape.adapter_parameters(adapter))
    weights, trained = (shape.parameters - opened) * BYTES[precision], _TRAINED_BYTES * numbers
    logits = 2 * min(LOGITS_CHUNK_BYTES, 4 * forest_tokens * shape.vocabulary)  # and their exponentials
    block, outside = _activation_bytes(shape, precision, forest_tokens, adapter=adapter)
    if method == "full" or "norms" in adapter.also:  # normalised inputs, for the gradient of the norms
        block += 8 * forest_tokens * shape.hidden
        outside += 4 * forest_tokens * shape.hidden
    if precision == "bf16":  # narrow copies of weights that are kept in fp32
        outside += 2 * shape.vocabulary * shape.hidden
        block += 2 * shape.linear_parameters // shape.layers if method == "full" else 0
    kept = (shape.layers + 1) * BYTES[precision] * forest_tokens * shape.hidden  # the last norm's input too
    activations = outside + (block + kept if is_recomputed else shape.layers * block)
    return TrainMemory(weights=weights, trained=trained, activations=activations, logits=logits)


def train_flop(shape: ModelShape, *, method: str, tokens: float, scored: float) -> float:
    """Return the floating-point operations of a training step's matrix products with the model's weights.

    Each weight takes two for a token forward, two for the gradient of its inputs and, where it is trained,
    two for its own. Left out are attention, the adapter and what is computed again.

    Args:
        shape: of the model.
        method: `qlora`, `lora` or `full`.
        tokens: that are computed.
        scored: of them.
    """
    passes = 6 if method == "full" else 4  # backward needs no products for frozen weights
    return passes * (tokens * shape.linear_parameters + scored * shape.vocabulary * shape.hidden)


def model_bytes(shape: ModelShape, precision: str) -> int:
    """Return the size of a model's weights, in memory or in a safetensors folder, in bytes."""
    return shape.parameters * BYTES[precision]


def gguf_bytes(shape: ModelShape, kind: str) -> int:
    """Return the size of the weights in a GGUF file: `f16`, `q8_0`, any other as fp32; norms stay fp32."""
    matrices = shape.linear_parameters + shape.embeddings
    each = {"f16": 2.0, "q8_0": _Q8_0_BYTES}.get(kind, 4.0)
    return math.ceil(matrices * each) + 4 * (shape.parameters - matrices)


def _activation_bytes(
    shape: ModelShape, precision: str, tokens: int, *, adapter: AdapterSettings
) -> tuple[int, int]:
    """Return what the backward pass of an adapter keeps, of a block and outside: counted with PEFT on a CPU.

    A block keeps, for each token, in fp32: its two inputs of norms, queries, keys and values, the attention's
    result, a number a head and one a norm; in the precision: the results of A, the inputs of the linear
    layers (layers share one in fp32 and have copies of their own in bf16), the gate before and after its
    activation, and `up`. DoRA keeps the base's and the update's results. Left out are masks: 4 bytes for each
    token and what it sees, where rows share a beginning or are longer than a window.
    """
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    hidden, inner = shape.hidden, shape.intermediate
    targets = shape.target_sizes(adapter)
    wide = 2 * (hidden + query + key) + shape.heads + 2
    inputs = (2 if precision == "fp32" else 5) * hidden + query + inner
    narrow = adapter.rank * len(targets) + inputs + 3 * inner
    width = BYTES[precision]
    block = 4 * wide + width * narrow
    if adapter.dora:
        block += 2 * width * sum(outputs for _, outputs in targets)
    outside = 2 * width * shape.head_dim + 2 * 4 * hidden + 16  # rotations; what the head reads, twice
    return tokens * block, tokens * outside


def available_bytes() -> int:
    """Return the memory that this process may still take without pushing anything out, in bytes.

    The smaller one of what the system and what the control group (a container's limit) leaves.
    """
    free = [_system_available(), *_group_available(Path("/sys/fs/cgroup"))]
    return max(0, min(free))


def _system_available() -> int:
    if available := proc_field("meminfo", "MemAvailable"):
        return int(available.removesuffix(" kB")) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS: no figure of what is free


def _group_available(group: Path) -> list[int]:
    limit, used, detail = (group / f"memory.{name}" for name in ("max", "current", "stat"))
    if not (limit.exists() and used.exists() and detail.exists()):
        return []
    text = limit.read_text(encoding="ascii").strip()
    if text == "max":
        return []
    stat = dict(line.split() for line in detail.read_text(encoding="ascii").splitlines())
    cache = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))  # given back under pressure
    return [int(text) - int(used.read_text(encoding="ascii")) + cache]
