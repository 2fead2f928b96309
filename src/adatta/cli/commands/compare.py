"""`adatta compare`: two runs' last models, item by item."""

from __future__ import annotations

from typing import Annotated

from typer import Argument


def compare(
    first: Annotated[str, Argument(help="A run, in the base's place.", show_default=False)],
    second: Annotated[str, Argument(help="Another run, asked the same.", show_default=False)],
) -> None:
    """Compare the last models of two runs on the items that both were asked, with intervals."""
    from adatta.pipeline.measuring import compare_runs

    compare_runs(first, second)


COMMAND = compare
