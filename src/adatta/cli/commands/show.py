"""`adatta show`: the plan of a recipe, what a run holds, or rows as the model gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from adatta.cli.options import Overrides


def show(
    target: Annotated[Path, Argument(help="A recipe (YAML) or a run's folder.", show_default=False)],
    rows: Annotated[
        int | None,
        Option(
            min=1,
            help="Show so many rows of each training stage as the model gets them: the first in its order "
            "of training, which the recipe's seed draws.",
        ),
    ] = None,
    row: Annotated[
        str | None, Option(metavar="FILE:LINE|ID", help="Show one row, by its place or its id.")
    ] = None,
    html: Annotated[
        Path | None, Option(help="Write the rows to this file, as a page, not to the terminal.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Show the plan, or rows: each stage, its fingerprint, whether it is done, stopped or still to do."""
    from adatta.pipeline.show import show_plan, show_rows

    if rows is None and row is None and html is None:
        show_plan(target, overrides or ())
    else:
        show_rows(target, overrides or (), num=rows or 5, row=row, html=html)


COMMAND = show
