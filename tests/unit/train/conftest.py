"""Tiny models are fastest on one thread, and exact where their norms are as wide as they are."""

from __future__ import annotations

from tests.unit.model.conftest import one_thread, wide_norms

__all__ = ["one_thread", "wide_norms"]
