"""`adatta chat`: talk to a model."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adatta.core.errors import ModelError, TemplateError

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.model.dialogue import Dialogue
    from adatta.model.engine import Engine

MAX_CONTEXT = 8192
"""More context than this is not kept in memory, whatever the model allows."""


def chat(
    model: Annotated[
        str, typer.Argument(help="Hub id, folder, run, GGUF file or package:NAME/FILE.", show_default=False)
    ],
    once: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Print the answer to this and end.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="System message, in place of the run's own.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the most likely token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides what is drawn where the temperature isn't 0.")] = 0,
) -> None:
    """Talk to a model; answers appear as they are made. /reset forgets, /exit or Ctrl-D ends."""
    from adatta.model.dialogue import Dialogue

    engine, template = _open(model)
    with engine:
        dialogue = Dialogue(
            engine, template, limit=max_new_tokens, system=system, temperature=temperature, seed=seed
        )
        if once is not None:
            _answer(dialogue, once)
        else:
            _talk(dialogue)


def _open(name: str) -> tuple[Engine, Chat]:
    """Open a run through its exported GGUF file, a GGUF file, or any other model's weights."""
    from adatta.chat.render import Chat
    from adatta.core.artefact import read_current
    from adatta.lang.profile import load_profile
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
        return LlamaCppEngine(path, context=MAX_CONTEXT, reuse_prefix=True), template
    from adatta.model.engines.transformers import TransformersEngine
    from adatta.model.load import fetch

    folder = fetch(name).folder
    return TransformersEngine(folder), Chat.load(folder, prompt)


def _exported_gguf(run: Path, stages: Sequence[Mapping[str, Any]]) -> Path | None:
    """Return the GGUF file of a run, 16 bits before 8; its template holds the run's system prompt."""
    folders = [run / stage["folder"] for stage in stages if stage["kind"] == "export"]
    files = [file for folder in folders for file in folder.rglob("*.gguf")]
    return max(files, key=lambda file: (file.name.endswith("-f16.gguf"), file.name), default=None)


def _talk(dialogue: Dialogue) -> None:
    """Read lines and answer them until /exit or the end of the input."""
    if sys.stdin.isatty():
        import readline  # noqa: F401 (editing and history in the line that input() reads)
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line == "/exit":
            return
        if line == "/reset":
            dialogue.restart()
        elif line:
            try:
                _answer(dialogue, line)
            except (ModelError, TemplateError) as error:
                print(f"adatta: {error} (/reset forgets the conversation)", file=sys.stderr)
            except KeyboardInterrupt:
                print(" [...]")


def _answer(dialogue: Dialogue, text: str) -> None:
    """Print an answer while it is made."""
    for piece in dialogue.ask(text):
        print(piece, end="", flush=True)
    print()
    if dialogue.was_cut:
        print("adatta: the answer was cut off by --max-new-tokens or the context", file=sys.stderr)


COMMAND = chat
