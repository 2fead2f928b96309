"""Choose the fastest engine that gives transformers' own log-probs on this model, by trying them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from adatta.core.errors import ExactnessError, ModelError
from adatta.core.records import TokenRow
from adatta.model.attend import give_back
from adatta.model.blocks import explain_unfused
from adatta.model.forest import Forest, build_forest
from adatta.model.linear import add_updates_as_peft, add_updates_wide
from adatta.model.score import EngineName, score

PROBE_TOKENS = 64
_WINDOW = 16
_FASTEST_FIRST: tuple[EngineName, ...] = ("fused", "forest")
# Mean difference in nats a token that is allowed, by engine and what it is compared with. Norms of a float64
# model go through fp32 in transformers, not in our blocks.
_LIMITS: dict[EngineName, dict[EngineName, dict[str, float]]] = {
    "forest": {"plain": {"fp64": 1e-10, "fp32": 1e-4, "bf16": 0.1}},
    "fused": {
        "plain": {"fp64": 1e-5, "fp32": 1e-4, "bf16": 0.1},
        "forest": {"fp64": 1e-5, "fp32": 1e-5, "bf16": 0.05},
    },
}

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
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    forest = build_forest(_branch(tuple(ids[:PROBE_TOKENS])))
    faults: dict[EngineName, str] = {}
    with torch.no_grad(), _telling(model, causal_lm):
        plain_S = score(model, forest, engine="plain")
        add_updates_wide(model)
        for name in (name for name in _FASTEST_FIRST if engine in ("auto", name)):
            fault = explain_unfused(causal_lm) if name == "fused" else None
            fault = fault or _find_fault(model, forest, engine=name, plain_S=plain_S)
            if fault is None:
                return name
            faults[name] = fault
    give_back(model)
    if engine != "auto":
        (fault,) = faults.values()
        raise ExactnessError(f"engine {engine} can't be used: {fault}; use engine: auto")
    add_updates_as_peft(model)
    _log.warning("engine forest can't be used: %s; plain is used, which is slower", faults["forest"])
    return "plain"


def _find_fault(model: Any, forest: Forest, *, engine: EngineName, plain_S: Tensor) -> str | None:
    """Say what is wrong with an engine, None if it gives plain's log-probs [S], and fused those of forest."""
    try:
        both: set[EngineName] = {"forest", engine}
        scores = {name: score(model, forest, engine=name) for name in both}
    except (RuntimeError, TypeError, ValueError, ModelError) as error:  # code that nobody has tried with it
        return f"it can't compute a {type(model).__name__} ({error})"
    expected: dict[EngineName, Tensor] = {**scores, "plain": plain_S}
    for name, limits in _LIMITS[engine].items():
        mean, limit = float((scores[engine] - expected[name]).abs().mean()), limits[_precision(model)]
        if not mean <= limit:
            return f"on this model it differs from {name} by {mean:.2g} nats a token, more than {limit}"
    return None


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
def _telling(model: Any, causal_lm: Any) -> Iterator[None]:
    """Let a small forest tell engines apart inside: no dropout, all updates at work, windows reached.

    Updates of rank R that start at zero get some effect; layers that look back over more than 16 tokens look
    back over 16: few texts would feel more.
    """
    generator = torch.Generator().manual_seed(0)
    with ExitStack() as undo:
        undo.callback(model.train, model.training)
        model.eval()
        for name, up_OR in model.named_parameters():
            if ".lora_B." in name:
                undo.callback(up_OR.copy_, up_OR.clone())
                up_OR += 0.02 * torch.randn(up_OR.shape, generator=generator).to(up_OR)
        for holder in (causal_lm.config, *causal_lm.modules()):
            window = getattr(holder, "sliding_window", None)
            if isinstance(window, int) and window > _WINDOW:
                undo.callback(setattr, holder, "sliding_window", window)
                holder.sliding_window = _WINDOW
        yield
