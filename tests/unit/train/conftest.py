"""Tiny models are fastest on one thread."""

from __future__ import annotations

from tests.unit.model.conftest import one_thread

__all__ = ["one_thread"]
