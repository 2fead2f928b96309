"""Write toys as exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adatta.chat.render import Chat
from adatta.export.gguf_writer import write_gguf
from adatta.export.job import ExportJob


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
