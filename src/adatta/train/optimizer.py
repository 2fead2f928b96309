"""The optimizers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from bitsandbytes.optim import PagedAdamW8bit
from torch import nn

from adatta.core.errors import RecipeError
from adatta.core.settings import OptimizerSettings

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "paged_adamw_8bit": PagedAdamW8bit,
}


def make_optimizer(settings: OptimizerSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name.

    Args:
        settings: name, rate and decay.
        parameters: what is trained.
    """
    return OPTIMIZERS[settings.name](parameters, lr=settings.lr, weight_decay=settings.weight_decay)


def refuse_optimizer(settings: OptimizerSettings) -> None:
    """Check that this machine can run the optimizer.

    Args:
        settings: of the optimizer.

    Raises:
        RecipeError: if it needs a CUDA device and there is none.
    """
    if settings.name == "paged_adamw_8bit" and not torch.cuda.is_available():
        raise RecipeError(
            "paged_adamw_8bit needs a CUDA device, and this machine has none; set optimizer.name: adamw"
        )
