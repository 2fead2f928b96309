"""Which type each tensor of a GGUF file has, by llama.cpp's mixtures, and the quantiser inside llama.cpp."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import gguf
import numpy as np
import xllamacpp.xllamacpp
from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType
from numpy.typing import NDArray

from adatta.core.errors import ExportError

MIXTURES: dict[str, tuple[Kind, LlamaFileType]] = {
    "f32": (Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q6_k": (Kind.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "q5_k_m": (Kind.Q5_K, LlamaFileType.MOSTLY_Q5_K_M),
    "q4_k_m": (Kind.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "q4_0": (Kind.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
_NARROW = {Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0}
"""What takes the place of blocks of 256 where they don't divide a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """A mixture of types for one model, `name` a key of `MIXTURES`.

    `is_tied`: the embedding is the output, too. `is_70b`: eight query heads share keys and values in 80
    layers. `has_importance`: columns are weighed.
    """

    name: str
    layers: int
    is_tied: bool
    is_70b: bool
    has_importance: bool

    def choose(self, name: str, shape: Sequence[int]) -> Kind:
        """Return the type of a tensor.

        Args:
            name: in the file.
            shape: as in transformers; the last number is the row's length.

        Source: `llama_tensor_get_type` and its fallback in llama.cpp's src/llama-quant.cpp. Differs: rows
            that 32 doesn't divide become F16 in Q8_0 and Q4_0 files, too, where llama.cpp stops.
        """
        kind, width = MIXTURES[self.name][0], shape[-1]
        if len(shape) == 1:
            return Kind.F32
        if kind in (Kind.F32, Kind.F16):
            return kind
        kind = self._mix(name, kind, width)
        for narrower in (_NARROW.get(kind, Kind.F16), Kind.F16):
            if width % gguf.GGML_QUANT_SIZES[kind][0]:
                kind = narrower
        return kind

    def _mix(self, name: str, kind: Kind, width: int) -> Kind:
        """Return the type that a tensor has if its rows can be divided into blocks."""
        if name == "output.weight" or (self.is_tied and name == "token_embd.weight"):
            is_wide = kind == Kind.Q8_0 or width % gguf.GGML_QUANT_SIZES[kind][0]
            return Kind.Q8_0 if is_wide else Kind.Q6_K
        block = re.match(r"blk\.(\d+)\.(\w+)", name)
        if not block or block[2] not in ("attn_v", "attn_qkv", "ffn_down"):
            return kind
        layer, eighth = int(block[1]), self.layers // 8
        is_outer = layer < eighth or layer >= 7 * self.layers // 8
        if self.name.endswith("_m") and (is_outer or (layer - eighth) % 3 == 2):
            return Kind.Q6_K
        if block[2] != "ffn_down":
            return Kind.Q5_K if self.is_70b and kind == Kind.Q4_K else kind
        return Kind.Q4_1 if self.name == "q4_0" and self.has_importance and layer < eighth else kind


def quantise(
    weight: NDArray[np.float32], kind: Kind, *, importance: NDArray[np.float32] | None
) -> NDArray[Any]:
    """Turn a weight into a type of GGUF.

    Args:
        weight: [..., columns].
        kind: the type; its blocks divide the columns.
        importance: [columns], how much an error in each matters, for types of fewer than 8 bits.

    Returns:
        Numbers of `kind`, or the bytes of each row.

    Source: ggml's `ggml_quantize_chunk`, the function that llama.cpp's own quantiser calls.
    """
    if kind in (Kind.F32, Kind.F16):
        return np.ascontiguousarray(gguf.quants.quantize(weight, kind))
    weight = np.ascontiguousarray(weight, dtype=np.float32)
    out = np.empty(gguf.quant_shape_to_byte_shape(weight.shape, kind), dtype=np.uint8)
    columns = weight.shape[-1]
    weigh = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32).ctypes.data
    _quantiser()(kind, weight.ctypes.data, out.ctypes.data, 0, weight.size // columns, columns, weigh)
    return out


@cache
def _quantiser() -> Any:
    """Return llama.cpp's function.

    Raises:
        ExportError: if this build of xllamacpp keeps it to itself.
    """
    try:
        function = ctypes.CDLL(xllamacpp.xllamacpp.__file__).ggml_quantize_chunk
    except AttributeError as error:
        raise ExportError(
            f"xllamacpp {xllamacpp.__version__} doesn't show ggml_quantize_chunk, which quantising needs; "
            "export gguf-f16 or safetensors, or install the version of constraints.txt"
        ) from error
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    function.restype = ctypes.c_size_t
    return function
