"""`adatta chat`: talk to a model, or to two side by side."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from typing import Annotated

from typer import Exit, Option

from adatta.cli.options import ModelName
from adatta.core.errors import DataError


def chat(
    model: ModelName,
    once: Annotated[str | None, Option(metavar="TEXT", help="Print the answer to this and end.")] = None,
    compare: Annotated[
        str | None, Option(metavar="MODEL", help="Let this model answer, too, side by side.")
    ] = None,
    system: Annotated[
        str | None, Option(metavar="TEXT", help="System message, in place of the run's own.")
    ] = None,
    max_new_tokens: Annotated[int, Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, Option(min=0.0, help="0 takes the most likely token.")] = 0.0,
    seed: Annotated[int, Option(help="Decides what is drawn where the temperature isn't 0.")] = 0,
) -> None:
    """Talk to a model; answers appear as they are made. /help lists what else can be typed."""
    from adatta.cli.talk import Talk, check_text
    from adatta.model.dialogue import Dialogue
    from adatta.pipeline.opening import open_model

    for name, text in (("--once", once), ("--system", system)):
        if text is not None:
            check_text(text, name)
    if once is None and sys.stdin is None:
        raise DataError("there is no input to read from; give --once TEXT, or leave standard input open")
    opened = [open_model(name) for name in (model, compare) if name is not None]
    start = partial(Dialogue, limit=max_new_tokens, system=system, temperature=temperature, seed=seed)
    with closing(Talk([(each, start(each.engine, each.chat)) for each in opened])) as talk:
        if once is not None:
            talk.answer(lambda dialogue: dialogue.ask(once))
        elif talk.run():
            raise Exit(2)


COMMAND = chat
