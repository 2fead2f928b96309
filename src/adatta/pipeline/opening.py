"""Open any model to generate: a run through its exported GGUF file, a GGUF file, or any other's weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adatta.core.artefact import read_current
from adatta.core.errors import ModelError, TemplateError
from adatta.core.registry import list_names
from adatta.lang.profile import load_profile
from adatta.pipeline.plan import TRAINING

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.model.engine import Engine

ENGINES = "adatta.model.engines"
MAX_CONTEXT = 8192
"""llama.cpp keeps no more context than this in memory, whatever the model allows."""


class Opened(NamedTuple):
    """A model that answers: its name, its engine and what that is called, its chat format."""

    name: str
    engine: Engine
    engine_name: str
    chat: Chat


def open_model(name: str, engine: str | None = None, *, to_talk: bool = True) -> Opened:
    """Open a model and its chat format; what its files are decides the engine.

    Args:
        name: Hub id, folder, run, GGUF file or `package:NAME/FILE`.
        engine: which one; None takes llama.cpp for GGUF files, else transformers.
        to_talk: a chat template is needed, and llama.cpp keeps what prompts share.

    Raises:
        ModelError: if there is no such model or engine, or they don't go together.
        TemplateError: if the model has no chat template and needs one.
    """
    from adatta.chat.render import Chat
    from adatta.model.name import parse_name

    found = parse_name(name)
    run = read_current(found.path) if found.kind == "run" and found.path else None
    prompt = load_profile(run["language"]).system_prompt if run else None
    path = _exported_gguf(found.path, run["stages"]) if run and found.path else found.path
    is_gguf = path is not None and path.suffix.lower() == ".gguf"
    engine = engine or ("llamacpp" if is_gguf else "transformers")
    if engine not in list_names(ENGINES):
        raise ModelError(f"engine {engine!r} isn't known; give one of {', '.join(list_names(ENGINES))}")
    if path is not None and is_gguf and engine == "llamacpp":
        from adatta.model.dialogue import read_gguf_chat

        merged = found.path / run["model"] if run and found.path and run["model"] else path
        is_there = (merged / "tokenizer.json").is_file()  # it has tokenizers that aren't read from GGUF
        chat = Chat.load(merged, prompt) if is_there else read_gguf_chat(path)
        options = {"context": MAX_CONTEXT, "reuse_prefix": to_talk}
    elif engine == "llamacpp":
        raise ModelError(
            f"llama.cpp reads GGUF files, and model {name!r} has none; write one with `adatta export`, or "
            "take another engine"
        )
    else:
        from adatta.model.load import fetch

        path, options = fetch(name).folder, {}
        chat = Chat.load(path, prompt)
    if to_talk and chat.template is None:
        raise TemplateError(
            f"model {name!r} has no chat template, so there is no way to talk to it; give an instruction "
            f"model, or let it go on from a text: `adatta complete {name}`"
        )
    make = importlib.import_module(f"{ENGINES}.{engine}").ENGINE
    return Opened(name, make(path, **options), engine, chat)


def _exported_gguf(run: Path, stages: Sequence[Mapping[str, Any]]) -> Path | None:
    """Return the GGUF file of a run's last model, 16 bits before 8; it holds the run's system prompt."""
    last = max((place for place, stage in enumerate(stages) if stage["kind"] in TRAINING), default=-1)
    folders = [run / stage["folder"] for stage in stages[last + 1 :] if stage["kind"] == "export"]
    files = [file for folder in folders for file in folder.rglob("*.gguf")]
    return max(files, key=lambda file: (file.name.endswith("-f16.gguf"), file.name), default=None)
