"""A safetensors model folder as one GGUF file for llama.cpp; weights pass through memory one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import MODEL_ARCH
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig

from adatta.chat.render import Chat
from adatta.core.errors import ExportError
from adatta.export.gguf_architecture import Family, add_shape, check_exportable, convert_weight, rope_tensors
from adatta.export.gguf_types import MIXTURES, Mixture, quantise
from adatta.export.gguf_vocabulary import add_name, add_vocabulary
from adatta.export.job import ExportJob
from adatta.export.licence import read_licence
from adatta.export.modelfile import write_modelfile
from adatta.model.files import tensor_files


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """Where a weight comes from, and its name, shape and type in the file."""

    name: str
    file: Path
    key: str
    shape: tuple[int, ...]
    kind: Kind


def write_gguf(job: ExportJob, *, mixture: str) -> list[Path]:
    """Write the file `<name>-<mixture>.gguf`, and beside it Ollama's `Modelfile-<mixture>`.

    Args:
        job: what is written.
        mixture: a key of `MIXTURES`: the types of matrices; vectors (norms, biases) are fp32.

    Returns:
        The two files.

    Raises:
        ExportError: if the file would compute something else than the model does.
    """
    target = job.out_dir / f"{job.name}-{mixture}.gguf"
    with _open_writer(job.model_folder, target) as (writer, config, family):
        writer.add_type(gguf.GGUFType.MODEL)
        add_name(writer, job.name, folder=job.model_folder)
        if licence := read_licence(job.model_folder)[0]:
            writer.add_license(licence)
        writer.add_file_type(MIXTURES[mixture][1])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_shape(writer, config, family=family)
        add_vocabulary(writer, job.model_folder, size=config.vocab_size, chat=job.chat)
        if job.chat.template is not None:
            writer.add_chat_template(job.chat.exported_template())
        _write_tensors(writer, _list_tensors(job, config, family, mixture), job=job, config=config)
    return [target, write_modelfile(job, target)]


def check_folder(source: Path, *, chat: Chat) -> None:
    """Refuse, before anything is trained, a model folder that `write_gguf` would refuse in the end.

    Args:
        source: model folder; its weights aren't read.
        chat: its renderer.

    Raises:
        ExportError: if the file would compute something else than the model does.
    """
    with _open_writer(source, None) as (writer, config, _):
        add_vocabulary(writer, source, size=config.vocab_size, chat=chat)


@contextmanager
def _open_writer(source: Path, target: Path | None) -> Iterator[tuple[gguf.GGUFWriter, Any, Family]]:
    """Give what writes the file of a model folder, the folder's configuration and its family."""
    config: Any = AutoConfig.from_pretrained(source, local_files_only=True)
    family = check_exportable(config)
    with closing(gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[family.name])) as writer:
        yield writer, config, family


def _list_tensors(job: ExportJob, config: Any, family: Family, mixture: str) -> list[_Tensor]:
    """List every weight of the folder with its place in the file.

    Raises:
        ExportError: if a weight has no place in this architecture.
    """
    names = gguf.get_tensor_name_map(family.name, config.num_hidden_layers)
    is_grouped = config.num_attention_heads != config.num_key_value_heads
    mix = Mixture(
        name=mixture,
        layers=config.num_hidden_layers,
        is_tied=config.tie_word_embeddings,
        is_70b=config.num_hidden_layers == 80
        and (family.name == MODEL_ARCH.QWEN2 or (family.name == MODEL_ARCH.LLAMA and is_grouped)),
        has_importance=bool(job.importance),
    )
    tensors = []
    for key, file in tensor_files(job.model_folder).items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        with safe_open(file, framework="pt") as weights:
            shape = tuple(weights.get_slice(key).get_shape())
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ExportError(f"weight {key!r} has no place in a {config.model_type} GGUF file")
        tensors.append(_Tensor(name=name, file=file, key=key, shape=shape, kind=mix.choose(name, shape)))
    return tensors


def _write_tensors(writer: gguf.GGUFWriter, tensors: list[_Tensor], *, job: ExportJob, config: Any) -> None:
    """Write metadata and weights; one weight at a time is in memory."""
    factors = rope_tensors(config)
    for name, values in factors.items():
        writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
    for tensor in tensors:
        shape, dtype = tensor.shape, np.dtype(np.float32)
        num_bytes = math.prod(gguf.quant_shape_to_byte_shape(shape, tensor.kind))
        writer.add_tensor_info(tensor.name, shape, dtype, num_bytes, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for values in factors.values():
        writer.write_tensor_data(values)
    for tensor in tensors:
        writer.write_tensor_data(_read(tensor, config, job.importance.get(tensor.key)))


def _read(tensor: _Tensor, config: Any, importance: NDArray[np.float32] | None) -> NDArray[Any]:
    """Read a weight in the type of the file."""
    with safe_open(tensor.file, framework="pt") as weights:
        weight = weights.get_tensor(tensor.key).to(torch.float32).numpy()
    weight = convert_weight(weight, tensor.key, config=config)
    if tensor.kind != Kind.F32 and np.abs(weight).max() > np.finfo(np.float16).max:
        raise ExportError(f"weight {tensor.key!r} doesn't fit into 16-bit floats; export safetensors instead")
    return quantise(weight, tensor.kind, importance=importance)
