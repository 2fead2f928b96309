"""The machine of a measurement: what its processor is and how fast its matrix products are."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.nn import functional

from adatta.core.runtime import describe_runtime, proc_field
from adatta.core.settings import AdapterSettings
from adatta.model.memory import ModelShape

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
ROWS = 1024  # tokens of a product: about a forest
SQUARE = 2048
SECONDS = 0.7  # for each product


def describe_machine(threads: int) -> dict[str, Any]:
    """Return processor, threads, and which of the instructions that decide its speed it has."""
    found = set((proc_field("cpuinfo", "flags") or "").split())
    runtime = describe_runtime(device="cpu", threads=threads)
    return {
        "cpu": runtime.cpu,
        "threads": threads,
        "flags": [flag for flag in FLAGS if flag in found],
        "platform": runtime.platform,
        "python": runtime.python,
        "torch": torch.__version__,
    }


def measure_best_product(shape: ModelShape, dtype: torch.dtype = torch.float32) -> float:
    """Return the GFLOP/s of the fastest of some products: a square one and the model's own."""
    hidden, inner = shape.hidden, shape.intermediate
    sides = [(SQUARE, SQUARE, SQUARE), (ROWS, hidden, inner), (ROWS, inner, hidden), (ROWS, hidden, hidden)]
    return max(_rate(*each, dtype=dtype) for each in sides)


def count_flop(
    shape: ModelShape, *, adapter: AdapterSettings, tokens: int, scored: int, reference: bool
) -> int:
    """Count what training with a low-rank adapter on frozen weights must compute, once over its tokens.

    A frozen matrix costs a product forward and one backward, an adapter's one more for its own gradient, the
    head its two at scored positions only. Attention's products and all that is not a product are left out.

    Args:
        shape: of the model.
        adapter: its settings.
        tokens: that pass through the model, a shared prefix once.
        scored: positions that the head reads.
        reference: whether all is computed once more without adapter and gradient, as DPO needs it.
    """
    frozen, head = shape.linear_parameters, shape.hidden * shape.vocabulary
    flop = tokens * (4 * frozen + 6 * shape.adapter_parameters(adapter)) + scored * 4 * head
    return flop + (tokens * 2 * frozen + scored * 2 * head if reference else 0)


def _rate(rows: int, inner: int, columns: int, *, dtype: torch.dtype) -> float:
    left = torch.randn(rows, inner, dtype=dtype)
    right = torch.randn(columns, inner, dtype=dtype)
    functional.linear(left, right)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        functional.linear(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns / best / 1e9
