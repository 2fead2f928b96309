"""Weights laid out for products with few rows, as generating has them on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 128  # the number of rows that the layout is chosen for; it serves others as well
MOST_BYTES = 2**31  # the copies of a model's weights, beyond which it keeps only its own


@contextmanager
def prepacked(model: Any) -> Iterator[None]:
    """Give fp32 linear layers on a CPU a second copy of their weights, in oneDNN's layout, while this lasts.

    A product with few rows otherwise spends half its time on bringing the weights into such a layout. Last
    bits differ from those of the plain product.

    Args:
        model: in inference mode. Layers on a GPU, in other precisions or of other kinds stay as they are, and
            so does everything where the copies would take more than `MOST_BYTES`.
    """
    layers = [layer for layer in model.modules() if _is_packable(layer)]
    size = sum(layer.weight.nbytes for layer in layers)
    if size > MOST_BYTES or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        layers = []
    try:
        for layer in layers:
            layer.forward = _forward(torch.ops.mkldnn._reorder_linear_weight(layer.weight, ROWS), layer.bias)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _is_packable(layer: Any) -> bool:
    return type(layer) is nn.Linear and layer.weight.is_cpu and layer.weight.dtype == torch.float32


def _forward(packed: Tensor, bias_O: Tensor | None) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias_O, "none", [], "")
