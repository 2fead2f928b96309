"""Turn what a stage trained into a complete model folder, and prove that it is the same model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from adatta.core.artefact import folder_aside, write_atomic, write_json
from adatta.core.errors import ModelError
from adatta.core.records import TokenRow
from adatta.model import merge_check
from adatta.model.adapter import FULL_WEIGHTS, Method, load_base, load_trained, read_also, wrap_adapter
from adatta.model.files import ADAPTER_WEIGHTS, read_config, tensor_files
from adatta.model.load import DTYPES, load_model
from adatta.model.memory import available_bytes
from adatta.model.name import ADAPTER_CONFIG
from adatta.model.quantise import nf4_round_trip

# O outputs and I inputs of a linear layer, R rank of its update

COST_LIMIT = 0.02  # bits a byte that the step from a 4-bit base to the merged model may cost unwarned

_PREFIX = "base_model.model."
_TOKENIZER = "tokenizer_config.json"
_INDEX = "model.safetensors.index.json"
_COPIED = (".json", ".jinja", ".txt", ".model", ".md")
_REFUSED = ("rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out", "lora_bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeJob:
    """What is merged, into what, and by which rows it is checked.

    `into` is `full` (the base as it is) or `dequantised` (the base as NF4 left it). `probe` rows decide
    the checks: their first 512 tokens are used. `held_out` rows with the `held_out_bytes` of their text
    measure the cost of quantisation; none, no figure. `template` and `stop_ids` go into the folder.
    """

    base_folder: Path
    trained_folder: Path
    out_folder: Path
    into: Literal["full", "dequantised"]
    method: Method
    precision: str
    probe: Sequence[TokenRow]
    held_out: Sequence[Sequence[TokenRow]] = ()
    held_out_bytes: int = 0
    template: str | None = None
    stop_ids: Sequence[int] = ()


def merge(job: MergeJob) -> dict[str, Any]:
    """Write the merged model and check it; the folder appears only when it is right.

    Args:
        job: what to do.

    Returns:
        Figures for the stage's record; `warnings` among them.

    Raises:
        ModelError: if the trained weights don't fit the base.
        ExactnessError: if the merged model differs from what was trained.
    """
    with folder_aside(job.out_folder) as folder:
        return _fill(job, folder)


def _fill(job: MergeJob, folder: Path) -> dict[str, Any]:
    """Put the merged model into a folder and check it there; return the figures."""
    _copy_files(job, folder)
    figures: dict[str, Any] = {"into": job.into, "warnings": []}
    if job.method == "full":
        weights, as_trained = _replace_weights(load_file(job.trained_folder / FULL_WEIGHTS)), None
    else:
        weights, as_trained = _adapted_weights(job)
    errors = _write_weights(job.base_folder, folder, weights)
    merge_check.check_ties(job.base_folder, folder)
    figures["modules"] = len(errors)
    figures["largest_module_error"] = merge_check.check_errors(errors) if errors else None
    figures["log_probs"] = _compare_log_probs(job, folder, weights)
    if as_trained is not None:
        figures["quantisation"] = cost = _quantisation_cost(job, folder, as_trained)
        if cost["difference"] > COST_LIMIT:
            figures["warnings"].append(
                f"the adapter was trained on a 4-bit base; merged into the full one, held-out text costs "
                f"{cost['merged']:.3f} bits a byte instead of {as_trained:.3f}: try merge.into: dequantised"
            )
    return figures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weight:
    """How one tensor is made from the stored one, in fp32: the base's part, and what was learnt with it."""

    base: Callable[[Tensor], Tensor]
    make: Callable[[Tensor], Tensor]
    recorded: merge_check.Recorded | None = None


_Weights = dict[str, _Weight]


def _adapted_weights(job: MergeJob) -> tuple[_Weights, float | None]:
    """Return the tensors that differ from the stored ones and, for a 4-bit base, its bits a byte."""
    trained = load_trained(job.base_folder, job.trained_folder, method=job.method, precision=job.precision)
    recorded = merge_check.record_inputs(trained, job.probe)
    as_trained = None
    if job.method == "qlora" and job.held_out:
        as_trained = merge_check.bits_per_byte(trained, job.held_out, num_bytes=job.held_out_bytes)
    updates = read_updates(job.trained_folder)
    if set(updates) != set(recorded):
        odd = ", ".join(sorted(set(updates) ^ set(recorded))[:3])
        raise ModelError(f"{job.trained_folder} doesn't fit {job.base_folder}: {odd}; train again")
    magnitudes, also = read_magnitudes(job.trained_folder), read_also(job.trained_folder)
    dequantised = set(trained.quantised) if job.into == "dequantised" else set()

    def weight(name: str) -> _Weight:
        def base(stored_OI: Tensor) -> Tensor:
            if name in dequantised:
                return nf4_round_trip(stored_OI.to(DTYPES[job.precision])).float()
            return stored_OI.float()

        def make(stored_OI: Tensor) -> Tensor:
            made_OI = base(stored_OI) + updates[name]() if name in updates else base(stored_OI)
            if name in magnitudes:
                made_OI = made_OI * (magnitudes[name] / torch.linalg.norm(made_OI, dim=1))[:, None]
            return made_OI

        return _Weight(base=base, make=make, recorded=recorded.get(name))

    weights = {f"{name}.weight": weight(name) for name in sorted(dequantised | set(updates))}
    return weights | _replace_weights(also), as_trained


def _replace_weights(trained: Mapping[str, Tensor]) -> _Weights:
    """Put trained tensors in the place of the stored ones."""

    def weight(tensor: Tensor) -> _Weight:
        return _Weight(base=lambda stored: tensor, make=lambda stored: tensor)

    return {name: weight(tensor) for name, tensor in trained.items()}


def read_updates(folder: Path) -> dict[str, Callable[[], Tensor]]:
    """Return, by layer, a function that makes the layer's update `scale * B @ A` [O, I] in fp32.

    Args:
        folder: an adapter as PEFT writes it.

    Raises:
        ModelError: if it holds more than plain low-rank updates, and lengths of DoRA.
    """
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    odd = [key for key in _REFUSED if config.get(key)]
    if odd:
        raise ModelError(f"{folder} uses {', '.join(odd)}, which can't be merged here; use plain LoRA")
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    layers = {key.removeprefix(_PREFIX).partition(".lora_")[0] for key in tensors}

    def update(layer: str) -> Callable[[], Tensor]:
        down_RI, up_OR = (tensors[f"{_PREFIX}{layer}.lora_{side}.weight"] for side in "AB")
        return lambda: scale * (up_OR.float() @ down_RI.float())

    return {layer: update(layer) for layer in sorted(layers)}


def read_magnitudes(folder: Path) -> dict[str, Tensor]:
    """Return, by layer, the lengths [O] of its outputs' weights that DoRA learnt; nothing without DoRA.

    Args:
        folder: an adapter as PEFT writes it.

    Source: arXiv:2402.09353 eq. 5.
    """
    end = ".lora_magnitude_vector"
    return {
        key.removeprefix(_PREFIX).removesuffix(end): lengths_O.float()
        for key, lengths_O in load_file(folder / ADAPTER_WEIGHTS).items()
        if key.endswith(end)
    }


def _write_weights(base: Path, out: Path, weights: Mapping[str, _Weight]) -> dict[str, float]:
    """Write the base's files with some tensors made anew, a file at a time; return each layer's error."""
    files = tensor_files(base)
    missing = sorted(set(weights) - set(files))
    if missing:
        raise ModelError(f"{base} has no tensor {missing[0]}; the trained weights are of another model")
    if read_config(base).get("tie_word_embeddings"):
        files.pop(merge_check.HEAD, None)  # some checkpoints hold the embedding twice
    errors: dict[str, float] = {}
    for path in sorted(set(files.values())):
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name, holder in files.items() if holder == path}
        for name in [name for name in tensors if name in weights]:
            stored, weight = tensors[name], weights[name]
            merged = weight.make(stored)
            if weight.recorded:
                errors[name] = merge_check.module_error(weight.base(stored), merged, recorded=weight.recorded)
            tensors[name] = merged.to(stored.dtype).contiguous()
        save_file(tensors, str(out / path.name), metadata={"format": "pt"})
    if len(set(files.values())) > 1:
        names = {name: path.name for name, path in files.items()}
        total = sum(path.stat().st_size for path in set(files.values()))
        write_json(out / _INDEX, {"metadata": {"total_size": total}, "weight_map": names})
    return errors


def _compare_log_probs(job: MergeJob, out: Path, weights: _Weights) -> dict[str, Any] | None:
    """Compare the whole models, with merged weights as they were in fp32 before a narrow dtype rounded them.

    Computed in float64 where memory allows: in fp32 the products alone move the log-probs by 3e-5 to 2e-4,
    about what is allowed, in float64 the merge moves them by 1e-5. None where memory is short even for fp32.
    """
    files = tensor_files(job.base_folder)
    room = available_bytes() / sum(path.stat().st_size for path in set(files.values()))
    if room < 4:
        return None
    dtype = torch.float64 if room >= 8 else torch.float32

    def put(model: Any, which: Callable[[_Weight], Callable[[Tensor], Tensor]]) -> None:
        for name, weight in weights.items():
            with safe_open(str(files[name]), framework="pt") as file:
                stored = file.get_tensor(name)
            if stored.dtype != torch.float32 or which(weight) is weight.base:
                model.get_parameter(name).data.copy_(which(weight)(stored))

    trained: Any = load_model(job.base_folder, dtype)
    put(trained, lambda weight: weight.base)
    if job.method != "full":
        trained = wrap_adapter(trained, job.trained_folder).to(dtype)
    trained_S = merge_check.log_probs(trained, job.probe)
    del trained
    merged: Any = load_model(out, dtype)
    put(merged, lambda weight: weight.make)
    merged_S = merge_check.log_probs(merged, job.probe)
    largest = merge_check.largest_difference(trained_S, merged_S)
    return {"tokens": len(merged_S), "largest": largest, "computed_in": str(dtype).removeprefix("torch.")}


def _quantisation_cost(job: MergeJob, out: Path, as_trained: float) -> dict[str, float]:
    merged = load_base(out, method="lora", precision=job.precision)
    bits = merge_check.bits_per_byte(merged, job.held_out, num_bytes=job.held_out_bytes)
    return {"as_trained": as_trained, "merged": bits, "difference": bits - as_trained}


def _copy_files(job: MergeJob, out: Path) -> None:
    """Copy all but weights; put in the template and the stop ids that belong to the trained model."""
    for path in sorted(job.base_folder.iterdir()):
        if path.is_file() and path.suffix in _COPIED and path.name != _INDEX:
            shutil.copyfile(path, out / path.name)
    if job.template is not None:
        write_atomic(out / "chat_template.jinja", job.template)
        tokenizer = json.loads((out / _TOKENIZER).read_text(encoding="utf-8"))
        if tokenizer.pop("chat_template", None) is not None:
            write_json(out / _TOKENIZER, tokenizer)
    if job.stop_ids:
        path = out / "generation_config.json"
        generation = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_json(path, {**generation, "eos_token_id": list(job.stop_ids)})
