"""Estimates of memory and disk by arithmetic on a model's shape (no torch)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BYTES = {"fp32": 4, "bf16": 2}
_TRAINED_BYTES = 4  # adapters, and all weights where all are trained, are fp32
_MOMENTS_BYTES = 8  # AdamW keeps two fp32 numbers for each trained one


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes that decide how large a model is; `has_biases` is of q, k and v."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    has_biases: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelShape:
        """Return the shape that a config.json describes."""
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        return cls(
            vocabulary=config["vocab_size"],
            hidden=hidden,
            intermediate=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            tied=config.get("tie_word_embeddings", False),
            has_biases=config["model_type"] == "qwen2",
        )

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear layers of one block."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, query),
            "k_proj": (self.hidden, key),
            "v_proj": (self.hidden, key),
            "o_proj": (query, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Number of weights in the linear layers of all blocks."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def parameters(self) -> int:
        """Number of all parameters, a tied matrix once."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        norms = (2 * self.layers + 1) * self.hidden
        biases = self.layers * (self.heads + 2 * self.kv_heads) * self.head_dim if self.has_biases else 0
        return self.linear_parameters + embeddings + norms + biases

    def adapter_parameters(self, rank: int, targets: str | Sequence[str] = "all-linear") -> int:
        """Return the number of parameters of a LoRA adapter: A and B of each target."""
        names = self.linear_layers if isinstance(targets, str) else targets
        return self.layers * sum(rank * sum(self.linear_layers[name]) for name in names)


def available_bytes() -> int:
    """Return the memory that this process may still take without pushing anything out, in bytes.

    The smaller one of what the system and what the control group (a container's limit) leaves.
    """
    free = [_system_available(), *_group_available(Path("/sys/fs/cgroup"))]
    return max(0, min(free))


def _system_available() -> int:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
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
