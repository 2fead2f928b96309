"""`adatta chat`: talk to a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from adatta.core.errors import ModelError, TemplateError
from adatta.pipeline.opening import open_engine

if TYPE_CHECKING:
    from adatta.model.dialogue import Dialogue


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

    engine, template = open_engine(model, reuse_prefix=True)
    with engine:
        dialogue = Dialogue(
            engine, template, limit=max_new_tokens, system=system, temperature=temperature, seed=seed
        )
        if once is not None:
            _answer(dialogue, once)
        else:
            _talk(dialogue)


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
