"""A safetensors model folder as one GGUF file for llama.cpp; weights pass through memory one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from adatta.core.errors import ExportError
from adatta.export.gguf_vocabulary import add_vocabulary
from adatta.model.files import tensor_files

_FILE_TYPES = {Kind.F16: gguf.LlamaFileType.MOSTLY_F16, Kind.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0}
_ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
}
_ROPE_TYPES = {gguf.MODEL_ARCH.LLAMA: ("default", "linear", "llama3"), gguf.MODEL_ARCH.QWEN2: ("default",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """Where a weight comes from, and its name, shape and type in the file."""

    name: str
    file: Path
    key: str
    shape: tuple[int, ...]
    kind: Kind


def write_gguf(
    model_folder: Path, out_dir: Path, *, kind: Kind, chat_template: str, stop_ids: tuple[int, ...], name: str
) -> list[Path]:
    """Write the file `<name>-<kind>.gguf`: matrices in `kind`, vectors (norms, biases) in fp32.

    Args:
        model_folder: model folder of a Llama, Mistral or Qwen 2.
        out_dir: where the file goes.
        kind: F16 or Q8_0 (rows that its blocks of 32 don't divide stay F16).
        chat_template: Jinja text to ship.
        stop_ids: what ends an answer.
        name: the model's name in the file.

    Returns:
        The file alone.

    Raises:
        ExportError: if the file would compute something else than the model does.
    """
    target = out_dir / f"{name}-{kind.name.lower()}.gguf"
    with _open_writer(model_folder, target) as (writer, config):
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(name)
        if licence := _licence(model_folder):
            writer.add_license(licence)
        writer.add_file_type(_FILE_TYPES[kind])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_shape(writer, config)
        add_vocabulary(writer, model_folder, size=config.vocab_size, stop_ids=stop_ids)
        writer.add_chat_template(chat_template)
        _write_tensors(writer, _list_tensors(model_folder, config, kind), config)
    return [target]


def check_folder(source: Path, *, stop_ids: tuple[int, ...]) -> None:
    """Refuse, before anything is trained, a model folder that `write_gguf` would refuse in the end.

    Args:
        source: model folder; its weights aren't read.
        stop_ids: what ends an answer.

    Raises:
        ExportError: if the file would compute something else than the model does.
    """
    with _open_writer(source, None) as (writer, config):
        add_vocabulary(writer, source, size=config.vocab_size, stop_ids=stop_ids)


@contextmanager
def _open_writer(source: Path, target: Path | None) -> Iterator[tuple[gguf.GGUFWriter, Any]]:
    """Give what writes the file of a model folder, and the folder's configuration."""
    config: Any = AutoConfig.from_pretrained(source, local_files_only=True)
    check_exportable(config)
    architecture = gguf.MODEL_ARCH_NAMES[_ARCHITECTURES[config.model_type]]
    with closing(gguf.GGUFWriter(target, architecture)) as writer:
        yield writer, config


def check_exportable(config: Any) -> None:
    """Refuse what llama.cpp would compute differently; `config` is transformers' configuration.

    Raises:
        ExportError: naming what isn't possible.
    """
    if config.model_type not in _ARCHITECTURES:
        raise ExportError(
            f"GGUF export of {config.model_type!r} models isn't possible; supported: "
            f"{', '.join(_ARCHITECTURES)}. Export safetensors instead"
        )
    rope_type = config.rope_parameters.get("rope_type", "default")
    if rope_type not in _ROPE_TYPES[_ARCHITECTURES[config.model_type]]:
        raise ExportError(
            f"GGUF export of {config.model_type!r} models with {rope_type!r} rotary positions isn't "
            "possible; export safetensors instead"
        )
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if window is not None and window < config.max_position_embeddings:
        raise ExportError(
            f"the model looks back over {window} tokens only, which llama.cpp doesn't do for this "
            "architecture; export safetensors, or set max_position_embeddings in its config.json to that"
        )


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _add_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    """Write the network's sizes."""
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _list_tensors(source: Path, config: Any, kind: Kind) -> list[_Tensor]:
    """List every weight of the folder with its place in the file.

    Raises:
        ExportError: if a weight has no place in this architecture.
    """
    names = gguf.get_tensor_name_map(_ARCHITECTURES[config.model_type], config.num_hidden_layers)
    tensors = []
    for key, file in tensor_files(source).items():
        with safe_open(file, framework="pt") as weights:
            shape = tuple(weights.get_slice(key).get_shape())
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ExportError(f"weight {key!r} has no place in a {config.model_type} GGUF file")
        if name == "output.weight" and config.tie_word_embeddings:
            continue
        tensors.append(_Tensor(name=name, file=file, key=key, shape=shape, kind=_kind(shape, kind)))
    return tensors


def _kind(shape: tuple[int, ...], wanted: Kind) -> Kind:
    if len(shape) == 1:
        return Kind.F32
    return wanted if shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0 else Kind.F16


def _write_tensors(writer: gguf.GGUFWriter, tensors: list[_Tensor], config: Any) -> None:
    """Write metadata and weights; one weight at a time is in memory."""
    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for tensor in tensors:
        shape, dtype = tensor.shape, np.dtype(np.float32)
        num_bytes = math.prod(gguf.quant_shape_to_byte_shape(shape, tensor.kind))
        writer.add_tensor_info(tensor.name, shape, dtype, num_bytes, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for tensor in tensors:
        writer.write_tensor_data(_read(tensor, config))


def _read(tensor: _Tensor, config: Any) -> NDArray[Any]:
    """Read a weight in the type of the file."""
    with safe_open(tensor.file, framework="pt") as weights:
        weight = weights.get_tensor(tensor.key).to(torch.float32).numpy()
    part = re.search(r"\.(q|k)_proj\.", tensor.key)
    if part and _ARCHITECTURES[config.model_type] == gguf.MODEL_ARCH.LLAMA:
        heads = config.num_attention_heads if part[1] == "q" else config.num_key_value_heads
        weight = _join_halves(weight, heads)
    if tensor.kind != Kind.F32 and np.abs(weight).max() > np.finfo(np.float16).max:
        raise ExportError(f"weight {tensor.key!r} doesn't fit into 16-bit floats; export safetensors instead")
    return np.ascontiguousarray(gguf.quants.quantize(weight, tensor.kind))


def _join_halves(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Order the rows of q or k as llama.cpp rotates them: the two numbers of a rotation are neighbours.

    Args:
        weight: [heads * head_dim, ...]; rows i and i + head_dim / 2 of a head rotate together.
        heads: number of heads in it.

    Returns:
        The same rows with 2i and 2i + 1 rotating together.
    """
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _rope_factors(config: Any) -> NDArray[np.float32] | None:
    """Return by what each rotation's frequency is divided, where positions are scaled (Llama 3.1)."""
    rope_type = config.rope_parameters.get("rope_type", "default")
    if rope_type == "default":
        return None
    scaled, attention_factor = ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"))
    if attention_factor != 1.0:
        raise ExportError(f"{rope_type!r} rotary positions can't be written as GGUF; export safetensors")
    steps = np.arange(0, _head_dim(config), 2) / _head_dim(config)
    plain = config.rope_parameters["rope_theta"] ** -steps
    return np.asarray(plain / scaled.double().numpy(), dtype=np.float32)


def _licence(folder: Path) -> str | None:
    """Return the licence that the model card of the folder names."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    found = re.match(r"---\n.*?^license:\s*(\S+)\s*$.*?^---$", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else None
