"""Open any model to generate: a run through its exported GGUF file, a GGUF file, or any other's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import read_current
from adatta.lang.profile import load_profile

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.model.engine import Engine

MAX_CONTEXT = 8192
"""More context than this is not kept in memory, whatever the model allows."""


def open_engine(name: str, *, reuse_prefix: bool = False) -> tuple[Engine, Chat]:
    """Open a model and its chat format.

    Args:
        name: of the model, of any kind.
        reuse_prefix: as in `LlamaCppEngine`, where that is what answers.

    Raises:
        ModelError: the model can't be found or used.
    """
    from adatta.chat.render import Chat
    from adatta.model.name import parse_name

    found = parse_name(name)
    run = read_current(found.path) if found.kind == "run" and found.path else None
    prompt = load_profile(run["language"]).system_prompt if run else None
    path = _exported_gguf(found.path, run["stages"]) if run and found.path else found.path
    if path is not None and path.suffix.lower() == ".gguf":
        from adatta.model.dialogue import read_gguf_chat
        from adatta.model.engines.llamacpp import LlamaCppEngine

        merged = found.path / run["model"] if run and found.path and run["model"] else path
        is_there = (merged / "tokenizer.json").is_file()  # it has tokenizers that aren't read from GGUF
        template = Chat.load(merged, prompt) if is_there else read_gguf_chat(path)
        return LlamaCppEngine(path, context=MAX_CONTEXT, reuse_prefix=reuse_prefix), template
    from adatta.model.engines.transformers import TransformersEngine
    from adatta.model.load import fetch

    folder = fetch(name).folder
    return TransformersEngine(folder), Chat.load(folder, prompt)


def _exported_gguf(run: Path, stages: Sequence[Mapping[str, Any]]) -> Path | None:
    """Return the GGUF file of a run, 16 bits before 8; its template holds the run's system prompt."""
    folders = [run / stage["folder"] for stage in stages if stage["kind"] == "export"]
    files = [file for folder in folders for file in folder.rglob("*.gguf")]
    return max(files, key=lambda file: (file.name.endswith("-f16.gguf"), file.name), default=None)
