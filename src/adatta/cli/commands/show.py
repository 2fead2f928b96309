"""`adatta show`: the plan of a recipe, or what a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    target: Annotated[Path, typer.Argument(help="A recipe (YAML) or a run's folder.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value of the recipe.")
    ] = None,
) -> None:
    """Show the plan: each stage, its fingerprint, and whether it is done, stopped or still to do."""
    from adatta.pipeline.show import show_plan

    show_plan(target, overrides or ())


COMMAND = show
