"""Write toys as exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from adatta.chat.render import Chat
from adatta.export.gguf_writer import write_gguf
from adatta.export.job import ExportJob
from adatta.model.adapter import Trainable, save_trained
from adatta.model.load import load_model, peft_without_noise

STAGES = (
    {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "up_proj"], "use_rslora": True},
)


def make_job(folder: Path, out: Path, *, system_prompt: str | None = None, **others: Any) -> ExportJob:
    """Describe the export of a model folder, called `toy`."""
    chat = Chat.load(folder, system_prompt)
    return ExportJob(model_folder=folder, out_dir=out, chat=chat, **{"name": "toy", **others})


def write_toy(folder: Path, out: Path, mixture: str = "f16", **others: Any) -> Path:
    """Write the GGUF file of a model folder."""
    return write_gguf(make_job(folder, out, **others), mixture=mixture)[0]


def edit_json(path: Path, **changes: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), encoding="utf-8")


def write_chain(root: Path, base: Path) -> tuple[list[Path], list[Path]]:
    """Write two adapters, each on what the one before made of the base; return merged models and adapters."""
    model, merged, adapters = load_model(base), [], []
    generator = torch.Generator().manual_seed(1)
    for number, options in enumerate(STAGES):
        with peft_without_noise():
            settings = LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path=str(base), **options)
            adapted = get_peft_model(model, settings)
            for name, weight in adapted.named_parameters():
                if "lora_" in name:
                    weight.data = torch.randn(weight.shape, generator=generator) * 0.1
            adapters.append(root / f"adapter-{number}")
            save_trained(Trainable(model=adapted, method="lora", base="plain"), adapters[-1])
            model = adapted.merge_and_unload()
        merged.append(root / f"merged-{number}")
        model.save_pretrained(merged[-1])
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(base / file, merged[-1] / file)
    return merged, adapters
