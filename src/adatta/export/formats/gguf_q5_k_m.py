"""GGUF with 5-bit blocks of 256, the touchiest tensors in 6: 36% of 16 bits."""

from __future__ import annotations

from functools import partial

from adatta.export.gguf_writer import write_gguf

FORMAT = write = partial(write_gguf, mixture="q5_k_m")
