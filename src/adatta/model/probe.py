"""Check an engine against transformers itself on a small forest, and choose by that what scores a model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch

from adatta.core.errors import ModelError
from adatta.core.records import TokenRow
from adatta.model.architecture import EXACT
from adatta.model.forest import build_forest
from adatta.model.score import EngineName, score

PROBE_TOKENS = 64
PROBE_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.1}  # mean nats a token
_WINDOW = 16

_log = logging.getLogger(__name__)


def find_fault(model: Any, ids: Sequence[int], *, engine: EngineName, tolerance: float) -> str | None:
    """Return what is wrong with an engine on a model, None if it gives what plain gives.

    Both score ids and the same ids with another end. Sliding windows are made smaller than the rows
    meanwhile: as they are, few rows would feel them.

    Args:
        model: a causal LM of transformers, or a PEFT model around one.
        ids: of a row; the first 64 are used.
        engine: the one to check.
        tolerance: mean difference that is allowed, in nats a token.
    """
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    ids = tuple(ids[:PROBE_TOKENS])
    half = len(ids) // 2
    rows = [
        TokenRow(ids=ids[:half] + end, weights=(1.0,) * len(ids), row_id="probe", branch=branch)
        for branch, end in enumerate((ids[half:], ids[half:][::-1]))
    ]
    forest = build_forest(rows)
    with torch.no_grad(), _small_windows(causal_lm):
        plain_S = score(model, forest, engine="plain")
        try:
            found_S = score(model, forest, engine=engine)
        except (
            RuntimeError,
            TypeError,
            ValueError,
            ModelError,
        ) as error:  # code that nobody has tried with it
            return f"engine {engine} can't compute a {type(causal_lm).__name__} ({error})"
    difference = float((found_S - plain_S).abs().mean())
    if difference <= tolerance:
        return None
    return f"engine {engine} differs from plain by {difference:.2g} nats a token, more than {tolerance}"


def usual_engine(model: Any) -> EngineName:
    """Return `forest` for an architecture that is known exact or found so now, else `plain`.

    Args:
        model: a causal LM of transformers, or a PEFT model around one.
    """
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    if type(causal_lm).__name__ in EXACT:
        return "forest"
    size = causal_lm.config.vocab_size
    ids = [(7 * number * number + 11 * number) % size for number in range(PROBE_TOKENS)]
    tolerance = PROBE_TOLERANCE[causal_lm.get_input_embeddings().weight.dtype]
    fault = find_fault(model, ids, engine="forest", tolerance=tolerance)
    if fault is None:
        return "forest"
    _log.warning("%s; plain is used", fault)
    return "plain"


def checked_engine(model: Any, asked: str) -> EngineName:
    """Return the engine that a recipe asks for, with `forest` and `auto` as `usual_engine` finds them.

    Args:
        model: a causal LM of transformers, or a PEFT model around one.
        asked: the engine of the recipe.
    """
    return usual_engine(model) if asked in ("auto", "forest") else cast(EngineName, asked)


@contextmanager
def _small_windows(model: Any) -> Iterator[None]:
    """Let every layer that looks back over more than 16 tokens look back over 16 inside."""
    holders = (model.config, *model.modules())
    windows = [(holder, getattr(holder, "sliding_window", None)) for holder in holders]
    large = [(holder, window) for holder, window in windows if isinstance(window, int) and window > _WINDOW]
    for holder, _ in large:
        holder.sliding_window = _WINDOW
    try:
        yield
    finally:
        for holder, window in large:
            holder.sliding_window = window
