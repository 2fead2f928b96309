"""Tiny models are fastest on one thread."""

from __future__ import annotations

import pytest
import torch

from tests.toys.models import FAMILIES
from tests.unit.model.conftest import one_thread

__all__ = ["one_thread", "wide_norms"]


@pytest.fixture
def wide_norms(monkeypatch):
    """Let the norms of a Llama compute in the dtype of their inputs: nothing else rounds a float64 model."""

    def forward(self, hidden):
        mean = hidden.pow(2).mean(-1, keepdim=True)
        return self.weight * hidden * torch.rsqrt(mean + self.variance_epsilon)

    module = __import__(FAMILIES["llama"][1].__module__, fromlist=["_"])
    monkeypatch.setattr(module.LlamaRMSNorm, "forward", forward)
