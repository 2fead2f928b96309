"""The optimizers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from bitsandbytes.optim import PagedAdamW8bit
from torch import nn

from adatta.core.errors import RecipeError
from adatta.core.settings import OptimizerSettings


def _adamw(parameters: list[nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, fused=True, **settings)


def _paged_adamw_8bit(parameters: list[nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = PagedAdamW8bit(parameters, **settings)
    return optimizer


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "paged_adamw_8bit": _paged_adamw_8bit,
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
