"""Tiny models are fastest on one thread, and exact where their norms are as wide as they are."""

from __future__ import annotations

from tests.unit.model.conftest import one_thread, wide_norms

__all__ = ["MEASURED", "one_thread", "wide_norms"]

# These figures of a step are measured, so they differ from run to run.
MEASURED = (
    "time_s",
    "tokens_per_s",
    "scored_tokens_per_s",
    "roofline_share",
    "peak_memory_bytes",
    "device_memory_bytes",
)
