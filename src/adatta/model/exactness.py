"""Choose the fastest engine that gives transformers' own log-probs on this model, by trying them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from adatta.core.errors import ExactnessError
from adatta.core.records import TokenRow
from adatta.model.blocks import explain_unfused
from adatta.model.forest import build_forest
from adatta.model.linear import add_updates_as_peft, add_updates_wide
from adatta.model.score import EngineName, score

PROBE_TOKENS = 64
# Mean difference in nats a token: of forest from plain, and of fused from forest. Norms of a float64 model
# go through fp32 in transformers, not in our blocks.
FROM_PLAIN = {"fp64": 1e-10, "fp32": 1e-4, "bf16": 0.1}
FROM_FOREST = {"fp64": 1e-5, "fp32": 1e-5, "bf16": 0.05}

_log = logging.getLogger(__name__)


def choose_engine(model: Any, ids: Sequence[int], *, engine: str) -> EngineName:
    """Return the fastest engine that is exact on a small forest with a branching point.

    The adapter's layers are left computing as the engine needs them: with updates added in fp32, or, for
    `plain`, as PEFT does it.

    Args:
        model: a causal LM, or a PEFT model around one.
        ids: tokens of a text; the first 64 make the forest, once as they are and once with another end.
        engine: `auto`, or the one to use.

    Raises:
        ExactnessError: if the engine that was asked for can't compute the model, or differs.
    """
    if engine == "plain":
        return "plain"
    found = {name: "" for name in ("fused", "forest") if engine in ("auto", name)}
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    precision = _precision(causal_lm)
    forest = build_forest(_branch(tuple(ids[:PROBE_TOKENS])))
    with torch.no_grad(), _without_dropout(model), _updates_that_count(model):
        plain_S = score(model, forest, engine="plain")
        add_updates_wide(model)
        forest_S = score(model, forest, engine="forest")
        for name in found:
            reason = explain_unfused(causal_lm) if name == "fused" else None
            if reason is None:
                reason = _compare("plain", forest_S - plain_S, FROM_PLAIN[precision])
            if reason is None and name == "fused":
                fused_S = score(model, forest, engine="fused")
                reason = _compare("forest", fused_S - forest_S, FROM_FOREST[precision])
            if reason is None:
                return name  # type: ignore[return-value]
            found[name] = reason
    if engine != "auto":
        raise ExactnessError(f"engine {engine} can't be used: {found[engine]}; use engine: auto")
    add_updates_as_peft(model)
    _log.warning("engine forest can't be used: %s; plain is used, which is slower", found["forest"])
    return "plain"


def _compare(other: str, difference_S: torch.Tensor, tolerance: float) -> str | None:
    """Say how far an engine is from another one, or None where that is within the tolerance.

    Args:
        other: the other engine.
        difference_S: of the log-probs [S].
        tolerance: largest mean difference.
    """
    mean = float(difference_S.abs().mean())
    if mean <= tolerance:
        return None
    return f"on this model it differs from {other} by {mean:.2g} nats a token, more than {tolerance}"


def _precision(model: Any) -> str:
    """Name the narrowest dtype that products run in."""
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if torch.bfloat16 in dtypes or torch.is_autocast_enabled(model.device.type):
        return "bf16"
    return "fp64" if torch.float64 in dtypes else "fp32"


def _branch(ids: tuple[int, ...]) -> list[TokenRow]:
    half = len(ids) // 2
    ends = (ids[half:], ids[half:][::-1])
    return [
        TokenRow(ids=ids[:half] + end, weights=(1.0,) * len(ids), row_id="probe", branch=branch)
        for branch, end in enumerate(ends)
    ]


@contextmanager
def _without_dropout(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _updates_that_count(model: Any) -> Iterator[None]:
    """Let updates of rank R that start at zero have some effect inside."""
    ups_OR = [value for name, value in model.named_parameters() if ".lora_B." in name]
    kept = [up_OR.clone() for up_OR in ups_OR]
    generator = torch.Generator().manual_seed(0)
    for up_OR in ups_OR:
        up_OR += 0.02 * torch.randn(up_OR.shape, generator=generator).to(up_OR)
    try:
        yield
    finally:
        for up_OR, before_OR in zip(ups_OR, kept, strict=True):
            up_OR.copy_(before_OR)
