"""Turn a GGUF file into a safetensors folder, once: weights dequantised, tokenizer as it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file

from adatta.core.errors import ModelError
from adatta.core.fingerprint import fingerprint, hash_file
from adatta.core.lock import make_once
from adatta.core.runtime import cache_dir
from adatta.model.gguf_tokenizer import GGUF_NAMES, special_ids, write_config, write_tokenizer

VERSION = 1  # changes when the folder made from the same file changes
SHARD_BYTES = 4 << 30

# llama.cpp writes Llama and Mistral under one name; without a sliding window they are the same network.
_ARCHITECTURES = {"llama": ("llama", "LlamaForCausalLM"), "qwen2": ("qwen2", "Qwen2ForCausalLM")}


def gguf_fingerprint(path: Path) -> str:
    """Return the identity of the model in a GGUF file: its content and the version of the conversion."""
    return fingerprint({"gguf": hash_file(path), "conversion": VERSION})


def convert_gguf(path: Path) -> Path:
    """Return the cached safetensors folder of a GGUF file, making it if it isn't there.

    The folder appears complete or not at all: it is written aside and renamed, under a lock.

    Args:
        path: the file; it may have any quantisation that the `gguf` package reads.

    Raises:
        ModelError: if the file, its architecture or its tokenizer isn't supported.
    """
    folder = cache_dir() / "gguf" / f"{path.stem}-{gguf_fingerprint(path)}"
    return make_once(folder, partial(_convert, path))


def read_gguf(path: Path) -> GGUFReader:
    """Open a GGUF file.

    Raises:
        ModelError: if it is none, or damaged.
    """
    try:
        return GGUFReader(path)
    except (ValueError, OSError, IndexError) as error:
        raise ModelError(f"{path} can't be read as GGUF ({error}); is the download complete?") from error


def _convert(path: Path, folder: Path) -> None:
    reader = read_gguf(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    config = _config(fields, {tensor.name for tensor in reader.tensors}, path)
    write_tokenizer(fields, folder, path)
    _write_weights(reader, config, folder)
    write_config(folder / "config.json", config)
    ids = {key: value for key, value in config.items() if key.endswith("_token_id")}
    write_config(folder / "generation_config.json", ids)


def _config(fields: Mapping[str, Any], tensors: set[str], path: Path) -> dict[str, Any]:
    architecture = fields.get("general.architecture")
    if architecture not in _ARCHITECTURES:
        raise ModelError(
            f"{path} holds a model of architecture {architecture!r}; supported in GGUF: "
            f"{', '.join(_ARCHITECTURES)}. Give another model"
        )
    model_type, class_name = _ARCHITECTURES[architecture]

    def get(key: str, default: Any = None) -> Any:
        value = fields.get(f"{architecture}.{key}", default)
        if value is None:
            raise ModelError(f"{path} lacks {architecture}.{key}; it is damaged or too old, convert it anew")
        return value

    hidden, heads = get("embedding_length"), get("attention.head_count")
    head_dim = get("attention.key_length", hidden // heads)
    _refuse_unusual(fields, tensors, path=path, head_dim=head_dim)
    return {
        "architectures": [class_name],
        "model_type": model_type,
        "dtype": "float32",
        "vocab_size": len(fields.get("tokenizer.ggml.tokens", ())),  # none: refused with the tokenizer
        "hidden_size": hidden,
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": _shortest(get("attention.layer_norm_rms_epsilon")),
        "rope_parameters": {"rope_type": "default", "rope_theta": _shortest(get("rope.freq_base", 10000.0))},
        "tie_word_embeddings": "output.weight" not in tensors,
        **{f"{name}_token_id": number for name, number in special_ids(fields).items() if name != "unk"},
    }


def _shortest(value: float) -> float:
    """Return the decimal that was meant: 1e-05, where the file's 32 bits read 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _refuse_unusual(fields: Mapping[str, Any], tensors: set[str], *, path: Path, head_dim: int) -> None:
    architecture = fields["general.architecture"]
    scaling = fields.get(f"{architecture}.rope.scaling.type", "none")
    rotated = fields.get(f"{architecture}.rope.dimension_count", head_dim)
    features = {
        "rotary positions on a part of each head": rotated != head_dim,
        "scaled rotary positions": scaling != "none" or "rope_freqs.weight" in tensors,
        "a sliding window": fields.get(f"{architecture}.attention.sliding_window"),
        "experts": fields.get(f"{architecture}.expert_count"),
    }
    if odd := [feature for feature, is_there in features.items() if is_there]:
        raise ModelError(
            f"{path} has {' and '.join(odd)}, which isn't read from GGUF; give the model's Hub id or folder"
        )


def _write_weights(reader: GGUFReader, config: Mapping[str, Any], folder: Path) -> None:
    shards: list[dict[str, Any]] = []
    for tensor in reader.tensors:
        if not shards or 4 * sum(int(part.n_elements) for part in shards[-1].values()) >= SHARD_BYTES:
            shards.append({})
        shards[-1][_key(tensor.name, config)] = tensor
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}.safetensors"
        index |= dict.fromkeys(shard, file)
        weights = {key: _read_weight(tensor, key, config) for key, tensor in shard.items()}
        save_file(weights, folder / file, metadata={"format": "pt"})
        del weights  # before the next ones are read
    if len(shards) != 1:
        write_config(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def _read_weight(tensor: Any, key: str, config: Mapping[str, Any]) -> NDArray[np.float32]:
    weight = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    if config["model_type"] == "llama" and (".q_proj" in key or ".k_proj" in key):
        heads = config["num_attention_heads" if ".q_proj" in key else "num_key_value_heads"]
        weight = _pair_halves(weight, heads)
    return weight


def _key(name: str, config: Mapping[str, Any]) -> str:
    """Return transformers' name of a GGUF tensor: `blk.3.ffn_up` is `model.layers.3.mlp.up_proj`."""
    stem, _, end = name.rpartition(".")
    block, outside = GGUF_NAMES["block"], GGUF_NAMES["outside"]
    if stem in outside and end == "weight":
        return f"{outside[stem]}.weight"
    _, _, rest = stem.partition("blk.")
    layer, _, part = rest.partition(".")
    has_bias = config["model_type"] == "qwen2" and part in ("attn_q", "attn_k", "attn_v")
    if part not in block or not (end == "weight" or (end == "bias" and has_bias)):
        raise ModelError(
            f"GGUF tensor {name!r} has no place in {config['architectures'][0]}; "
            "give the model's Hub id or folder"
        )
    return f"model.layers.{layer}.{block[part]}.{end}"


def _pair_halves(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo llama.cpp's order of rows in q and k, where the two numbers of a rotation are neighbours.

    Args:
        weight: [heads * head_dim, hidden]; row 2i and 2i + 1 of a head rotate together.
        heads: number of heads in it.

    Returns:
        The same rows with i and i + head_dim / 2 rotating together, as transformers has them.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows, columns)
