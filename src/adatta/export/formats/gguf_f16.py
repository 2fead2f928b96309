"""GGUF with 16-bit floats: what llama.cpp runs, nothing lost but the last bits."""

from __future__ import annotations

from functools import partial

from adatta.export.gguf_writer import write_gguf

FORMAT = write = partial(write_gguf, mixture="f16")
