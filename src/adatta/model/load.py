"""Fetch a model by any name as one safetensors folder, and load it."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from adatta.core.errors import ModelError
from adatta.core.lock import make_once
from adatta.core.runtime import cache_dir
from adatta.model.files import ADAPTER_WEIGHTS, TOKENIZER_FILES, ModelFiles, check_files, locate
from adatta.model.memory import available_bytes

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}  # fp64: tests only


def fetch(name: str, revision: str | None = None) -> ModelFiles:
    """Return the files of a model, ready for everything that reads one: an adapter comes merged.

    Args:
        name: Hub id, folder, adapter, run, GGUF file or `package:NAME/FILE`.
        revision: branch, tag or commit of a Hub id.

    Raises:
        ModelError: if it is missing, gated, damaged or of an architecture that isn't supported.
    """
    files = locate(name, revision)
    if files.parts is None:
        return files
    base, adapter = files.parts
    merge = partial(_merge, base.folder, adapter)
    folder = make_once(cache_dir() / "merged" / files.fingerprint, merge)
    return replace(files, folder=folder)


def load_model(folder: Path, dtype: torch.dtype | str = torch.float32) -> PreTrainedModel:
    """Load a model folder to score with: evaluation mode, no gradients, no cache of keys and values.

    Dropout is off for good, in training too: it would differ between rows that share a prefix and those
    that don't, and between a policy and its reference.

    Args:
        folder: a folder of `fetch`, or one that a stage wrote.
        dtype: of the weights: a torch type, `fp32` or `bf16`; `auto` is the one they are stored in.

    Raises:
        ModelError: if a weight is missing, left over or of the wrong shape: transformers alone would go on
            with random numbers in its place.
    """
    check_files(folder, str(folder))
    disable_progress_bar()
    dtype = DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported below
            output_loading_info=True,
        )
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} can't be loaded ({error}); is the model complete?") from error
    for trouble in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[trouble]:
            keys = ", ".join(sorted(map(str, loading[trouble]))[:3])
            raise ModelError(
                f"{folder} has {trouble.replace('_', ' ')}: {keys}; its weights don't fit config.json"
            )
    model.config.use_cache = False
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    return model.eval().requires_grad_(False)


def free_bytes() -> int:
    """Return the memory that is left where models compute, in bytes; torch gives back what it only keeps."""
    if not torch.cuda.is_available():
        return available_bytes()
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]


def place_model(model: PreTrainedModel) -> PreTrainedModel:
    """Move a model to the GPU, if there is one with room for its weights and a quarter more; else leave it.

    Args:
        model: of transformers.

    Returns:
        The model.
    """
    size = sum(parameter.nbytes for parameter in model.parameters())
    if torch.cuda.is_available() and 1.25 * size < free_bytes():
        return model.to("cuda")
    return model


@contextmanager
def peft_without_noise() -> Iterator[None]:
    """Silence PEFT inside, which reads a property of the model that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def _merge(base: Path, adapter: Path, out: Path) -> None:
    try:
        with peft_without_noise():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error below
            model = PeftModel.from_pretrained(load_model(base), str(adapter))
        with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as weights:
            odd = set(weights.keys()) ^ set(get_peft_model_state_dict(model, save_embedding_layers=False))
    except (RuntimeError, OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"adapter {adapter} doesn't fit its base {base} ({error})") from error
    if odd:
        keys = ", ".join(sorted(odd)[:3])
        raise ModelError(f"adapter {adapter} doesn't fit its base {base}: missing or left over are {keys}")
    merged = model.merge_and_unload()
    merged.config.use_cache = True
    merged.save_pretrained(out)
    # What the adapter was trained with takes the place of what the base has.
    for source in (base, adapter):
        for file in (*TOKENIZER_FILES, "generation_config.json"):
            if (source / file).is_file():
                shutil.copyfile(source / file, out / file)
