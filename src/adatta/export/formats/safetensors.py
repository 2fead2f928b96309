"""A folder that transformers and vLLM read: weights linked, template and stop ids written in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from adatta.export.job import ExportJob
from adatta.export.turns import find_end_of_turn
from adatta.model.gguf_tokenizer import write_config

_WRITTEN_ANEW = ("chat_template.jinja", "generation_config.json", "tokenizer_config.json")


def write(job: ExportJob) -> list[Path]:
    """Write the folder `<name>-safetensors`; on the same disk the weights are hard links and take no room.

    Returns:
        The files of the new folder.
    """
    end_of_turn = job.chat.decode([find_end_of_turn(job.chat)], keep_special=True)
    target = job.out_dir / f"{job.name}-safetensors"
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(job.model_folder.iterdir()):
        if file.is_file() and file.name not in _WRITTEN_ANEW:
            _link(file, target / file.name)
    tokenizer = {**_read(job.model_folder / "tokenizer_config.json"), "eos_token": end_of_turn}
    tokenizer.pop("chat_template", None)  # transformers prefers the file, other readers may not
    generation = {**_read(job.model_folder / "generation_config.json"), "eos_token_id": job.chat.stop_ids}
    write_config(target / "tokenizer_config.json", tokenizer)
    write_config(target / "generation_config.json", generation)
    if job.chat.template is not None:
        (target / "chat_template.jinja").write_text(job.chat.exported_template(), encoding="utf-8")
    return sorted(target.iterdir())


def _link(source: Path, target: Path) -> None:
    """Link a file, or copy it to another disk."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


FORMAT = write
