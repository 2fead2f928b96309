"""`adatta eval`: measure models on a suite and compare them with the first, paired."""

from __future__ import annotations

from typing import Annotated

import typer


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models, the base first: Hub id, folder, run, GGUF, package:NAME/FILE.", show_default=False
        ),
    ],
    suite: Annotated[str, typer.Option(help="The suite.")] = "offline",
    language: Annotated[str, typer.Option(help="Language profile.")] = "it",
    context: Annotated[int, typer.Option(help="Longest input, in tokens.")] = 1024,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or auto.")] = "auto",
    max_new_tokens: Annotated[int, typer.Option(help="Longest free answer, in tokens.")] = 96,
    name: Annotated[str, typer.Option(help="The run's name: the result is in runs/NAME.")] = "eval",
) -> None:
    """Measure models on a suite and compare each with the first one, item by item."""
    from adatta.pipeline.compare import compare_models

    compare_models(
        models,
        suite=suite,
        language=language,
        context=context,
        precision=precision,
        max_new_tokens=max_new_tokens,
        name=name,
    )


COMMAND = evaluate
