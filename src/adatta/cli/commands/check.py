"""`adatta check`: validate a recipe and every row; train nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value of the recipe.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is found, mistakes too, as one JSON object.")
    ] = False,
) -> None:
    """Validate the recipe and every row of its data; estimate memory, time and disk; train nothing."""
    from adatta.pipeline.check import check_recipe

    if not check_recipe(recipe, overrides or (), as_json=as_json):
        raise typer.Exit(2)


COMMAND = check
