"""Rows on the terminal and as a page: what is scored in one colour, what is only read in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from adatta.core.artefact import write_atomic
from adatta.pipeline.report import render_page
from adatta.pipeline.rows_view import Part, RowView

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

HEAD, TAIL = 240, 80  # pieces of a long branch that stay unfolded
_STYLES = {
    (False, False): "",
    (False, True): "cyan",
    (True, False): "green",
    (True, True): "bold reverse green",
}
_LEGEND = ("read only", "added token", "scored", "added token, scored")


def print_rows(
    stages: Mapping[str, Sequence[RowView]], console: Console, *, choice: str, folds: bool
) -> None:
    """Print rows; without colours, what is scored stands between ⟦ and ⟧.

    Args:
        stages: the rows of each stage.
        console: where to.
        choice: which rows these are.
        folds: whether the middle of long rows is left out, and said to be.
    """
    from rich.text import Text

    def say(text: str | Text, style: str = "") -> None:
        console.print(Text(text, style) if isinstance(text, str) else text, soft_wrap=True)

    is_plain = console.no_color or console.color_system is None
    say(Text("   ").join(Text(text, style) for text, style in zip(_LEGEND, _STYLES.values(), strict=True)))
    say(choice)
    branches = [
        (name, row, branch) for name, rows in stages.items() for row in rows for branch in row.branches
    ]
    for name, row, branch in branches:
        if branch is row.branches[0]:
            say(f"\n{name}: {row.place}  {row.row_id}  {row.use}", "bold")
        say("; ".join(filter(None, (branch.name, branch.lengths, branch.forest))), "dim")
        left_out = max(0, len(branch.parts) - HEAD - TAIL) if folds else 0
        for is_ids in (False, True):
            text = _color(branch.parts[: HEAD if left_out else None], is_ids=is_ids, is_plain=is_plain)
            if left_out:
                text.append(f" [... {left_out} more ...] ", "dim")
                text += _color(branch.parts[-TAIL:], is_ids=is_ids, is_plain=is_plain)
            say(text)


def _color(parts: Sequence[Part], *, is_ids: bool, is_plain: bool) -> Text:
    from rich.text import Text

    text = Text.assemble(("ids " if is_ids else "", "dim"))
    for is_scored, run in groupby(parts, key=lambda part: part[1].is_scored):
        text.append("⟦" if is_scored and is_plain else "")
        for shown, piece in run:
            ids = "".join(f"{number} " for number in piece.ids)
            text.append(ids if is_ids else shown, _STYLES[is_scored, piece.is_added])
        text.append("⟧" if is_scored and is_plain else "")
    return text


def write_rows(stages: Mapping[str, Sequence[RowView]], path: Path, *, title: str, choice: str) -> None:
    """Write rows as one HTML page without scripts and without network; every text is escaped.

    Args:
        stages: the rows of each stage.
        path: the file.
        title: of the page.
        choice: which rows these are.
    """
    view = {"stages": stages, "title": title, "choice": choice, "head": HEAD, "tail": TAIL}
    write_atomic(path, render_page("rows.html.jinja", view, styles=("chart.css", "report.css", "rows.css")))
