"""GGUF with 4-bit blocks of 32, the oldest and fastest kind; q4_k_m is better where it fits."""

from __future__ import annotations

from functools import partial

from adatta.export.gguf_writer import write_gguf

FORMAT = write = partial(write_gguf, mixture="q4_0")
