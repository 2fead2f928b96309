"""GGUF with 4-bit blocks of 256, the touchiest tensors in 6: 30% of 16 bits, what most people run."""

from __future__ import annotations

from functools import partial

from adatta.export.gguf_writer import write_gguf

FORMAT = write = partial(write_gguf, mixture="q4_k_m")
