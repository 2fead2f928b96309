"""The 4-bit base of QLoRA: NF4 with double quantisation, dequantised once where memory allows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch import Tensor, nn

# O outputs and I inputs of a linear layer

BLOCK = 64  # weights that share one scale, as in QLoRA
_NF4: dict[str, Any] = {"blocksize": BLOCK, "compress_statistics": True, "quant_type": "nf4"}


def nf4_round_trip(weight_OI: Tensor) -> Tensor:
    """Return what is left of a weight after NF4 with double quantisation, in its own dtype.

    Args:
        weight_OI: weights [O, I].

    Returns:
        Weights [O, I].

    Source: arXiv:2305.14314 section 3, by bitsandbytes.
    """
    narrow_OI = weight_OI.float() if weight_OI.dtype == torch.float64 else weight_OI
    packed, state = quantize_4bit(narrow_OI.contiguous(), **_NF4)
    back_OI: Tensor = dequantize_4bit(packed, state)
    return back_OI.to(weight_OI.dtype)


def quantise_base(model: Any, names: Iterable[str], *, dequantise: bool) -> None:
    """Quantise linear layers of a model in place.

    Args:
        model: the model.
        names: the layers' full names.
        dequantise: keep the dequantised weights (the layers stay plain and products cost what they cost in
            full precision), instead of 4 bits a weight that are dequantised at each use.
    """
    for name in names:
        layer = model.get_submodule(name)
        if dequantise:
            layer.weight.data = nf4_round_trip(layer.weight.data)
        else:
            model.set_submodule(name, _four_bit(layer))


def _four_bit(layer: nn.Linear) -> nn.Module:
    packed: Any = bitsandbytes.nn.Linear4bit(
        layer.in_features, layer.out_features, bias=False, compute_dtype=layer.weight.dtype, device="meta"
    )
    packed.weight = bitsandbytes.nn.Params4bit(layer.weight.data, requires_grad=False, **_NF4)
    packed.bias = layer.bias
    # The CPU's packed kernel serves passes without gradient only and rounds differently from those with one:
    # the reference of DPO must be computed as the policy is.
    packed.support_avx512bf16_for_cpu = False
    module: nn.Module = packed.to(layer.weight.device)
    return module
