"""GGUF with 6-bit blocks of 256: 41% of 16 bits."""

from __future__ import annotations

from functools import partial

from adatta.export.gguf_writer import write_gguf

FORMAT = write = partial(write_gguf, mixture="q6_k")
