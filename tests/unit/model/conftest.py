"""Tiny models are fastest on one thread; norms and softmax in the dtype of the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def wide_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let norms and softmax compute in a wide model's dtype.

    Those of transformers go through fp32, and so do their gradients.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from tests.toys.models import ARCHITECTURES

    def norm(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        of_gemma = hasattr(self, "eps")  # which keeps the distance of its weights from 1
        mean = hidden.pow(2).mean(-1, keepdim=True)
        weight = self.weight + 1 if of_gemma else self.weight
        return weight * hidden * torch.rsqrt(mean + (self.eps if of_gemma else self.variance_epsilon))

    softmax = torch.nn.functional.softmax

    def wide_softmax(states: torch.Tensor, dim: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return softmax(states, dim=dim, dtype=torch.promote_types(states.dtype, dtype))

    monkeypatch.setattr(torch.nn.functional, "softmax", wide_softmax)
    for name in ARCHITECTURES:
        module = sys.modules[AutoModelForCausalLM._model_mapping[CONFIG_MAPPING[name]].__module__]
        for norm_class in (value for key, value in vars(module).items() if key.endswith("RMSNorm")):
            monkeypatch.setattr(norm_class, "forward", norm)
