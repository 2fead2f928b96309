"""The adapter alone, as PEFT reads it: what all stages learnt, on the base that the chain began with."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import load_file

from adatta.core.errors import ExportError
from adatta.export.job import ExportJob
from adatta.model.adapter import write_tensors
from adatta.model.files import ADAPTER_WEIGHTS, ALSO_WEIGHTS
from adatta.model.name import ADAPTER_CONFIG

# r rank, I inputs, O outputs


def write(job: ExportJob) -> list[Path]:
    """Write the folder `<name>-adapter`: the stages' updates side by side, as one of their joint rank.

    Returns:
        Its files, the configuration first.

    Raises:
        ExportError: if the model isn't a base with such adapters.
    """
    base = job.base
    if base is None or not job.adapters:
        raise ExportError(
            f"{job.model_folder} isn't known as a base with adapters; name a run or an adapter's folder"
        )
    parts = [_read(folder) for folder in job.adapters]
    modules = sorted({name for part in parts for name in part})
    updates: dict[str, torch.Tensor] = {}
    for name in modules:
        shapes = next(part[name] for part in parts if name in part)
        down, up = [], []
        for part in parts:
            rank = next(iter(part.values()))[0].shape[0]
            empty = (
                shapes[0].new_zeros(rank, shapes[0].shape[1]),
                shapes[1].new_zeros(shapes[1].shape[0], rank),
            )
            down_rI, up_Or = part.get(name, empty)
            down.append(down_rI)
            up.append(up_Or)
        updates |= {f"{name}.lora_A.weight": torch.cat(down), f"{name}.lora_B.weight": torch.cat(up, dim=1)}
    target = job.out_dir / f"{job.name}-adapter"
    target.mkdir(parents=True, exist_ok=True)
    rank = updates[f"{modules[0]}.lora_A.weight"].shape[0]
    LoraConfig(
        r=rank,
        lora_alpha=rank,  # a scale of 1: each stage's own is in its matrices
        target_modules={name.rpartition(".")[2] for name in modules},
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.name.partition("@")[0] if base.kind == "hub" else base.name,
        revision=base.fingerprint if base.kind == "hub" else None,
        inference_mode=True,
    ).save_pretrained(target)
    write_tensors(target / ADAPTER_WEIGHTS, updates)
    return [target / ADAPTER_CONFIG, target / ADAPTER_WEIGHTS]


def _read(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return by module the matrices [r, I] and [O, r] of an adapter, the second one scaled."""
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ExportError(f"{folder} holds all weights of a stage, not an adapter; export safetensors")
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if config.get("use_dora") or (folder / ALSO_WEIGHTS).is_file():
        raise ExportError(
            f"{folder} learnt more than low-rank updates (dora, embeddings or norms), which can't be joined; "
            "export safetensors"
        )
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    found: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for key, weight in load_file(folder / ADAPTER_WEIGHTS).items():
        name, _, which = key.removesuffix(".weight").rpartition(".")
        found[name][which] = weight.float()
    return {name: (pair["lora_A"], scale * pair["lora_B"]) for name, pair in found.items()}


FORMAT = write
