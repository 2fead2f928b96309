"""`adatta check`: validate a recipe and every row; train nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from adatta.cli.options import Overrides


def check(
    recipe: Annotated[Path, Argument(help="The recipe (YAML).", show_default=False)],
    overrides: Overrides = None,
    as_json: Annotated[
        bool, Option("--json", help="Print what is found, mistakes too, as one JSON object.")
    ] = False,
) -> None:
    """Validate the recipe and every row of its data; estimate memory, time and disk; train nothing."""
    from adatta.pipeline.check import check_recipe

    if not check_recipe(recipe, overrides or (), as_json=as_json):
        raise Exit(2)


COMMAND = check
