"""`adatta run`: do a recipe, or go on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def run(
    recipe: Annotated[Path, Argument(help="The recipe (YAML).", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        Option("--set", metavar="PATH=VALUE", help="Override a value, such as stages.sft.optimizer.lr=1e-4."),
    ] = None,
) -> None:
    """Do the recipe: train, evaluate, export, report. What is done is reused; what stopped goes on."""
    from adatta.pipeline.run import run_recipe

    run_recipe(recipe, overrides or ())


COMMAND = run
