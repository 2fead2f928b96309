"""Show the plan of a recipe, or what a run holds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from adatta.core.artefact import read_artefact, read_current
from adatta.core.errors import Problem, RecipeError
from adatta.core.events import read_metrics
from adatta.pipeline.context import open_context
from adatta.pipeline.plan import PlannedStage

COUNTS = "  {used} rows, {holdout} held out, {tokens} tokens, {scored_tokens} scored"


def show_plan(target: Path, overrides: Sequence[str] = ()) -> None:
    """Print the plan of a recipe, or the newest chain of a run.

    Args:
        target: a recipe, or a run's folder.
        overrides: `path=value` settings, for a recipe.

    Raises:
        RecipeError: there is no such file or folder.
    """
    _require(target)
    lines = run_lines(target) if target.is_dir() else plan_lines(target, overrides)
    print("\n".join(lines))


def plan_lines(path: Path, overrides: Sequence[str]) -> list[str]:
    """Say what `adatta run` would do: a line a stage.

    Args:
        path: the recipe.
        overrides: `path=value` settings.

    Returns:
        Lines of text.
    """
    context = open_context(path, overrides)
    lines = [
        f"run        {context.run_dir}",
        f"model      {context.recipe.model.name} ({context.base.fingerprint[:12]})",
        f"language   {context.recipe.language}; context {context.recipe.context} tokens; "
        f"{context.recipe.precision}; engine {context.recipe.engine}",
    ]
    for planned in context.plan:
        rows = context.rows.get(planned.name)
        detail = COUNTS.format_map(rows.counts()) if rows else ""
        state = _state(planned, context.run_dir)
        lines.append(f"{planned.number:>2} {planned.name:<11} {planned.fingerprint}  {state}{detail}")
    return lines


def run_lines(folder: Path) -> list[str]:
    """Say what a run's newest complete chain is: a line a stage, below it the figures of its last step.

    Args:
        folder: the run's folder.

    Returns:
        Lines of text.
    """
    current = read_current(folder)
    lines = [f"run        {folder}", f"model      {current['base']}"]
    for number, stage in enumerate(current["stages"], start=1):
        record = read_artefact(folder / stage["folder"]).record
        when = f"done {record['created']} in {record['time_s']:.0f} s"
        lines.append(f"{number:>2} {stage['name']:<11} {stage['fingerprint']}  {when}")
        steps = [line for line in read_metrics(folder / stage["folder"] / "metrics.jsonl") if "loss" in line]
        if steps:
            figures = [f"{name} {value:,.4g}" for name, value in steps[-1].items()]
            lines += textwrap.wrap(", ".join(figures), initial_indent="   ", subsequent_indent="   ")
    return lines


def show_rows(
    target: Path, overrides: Sequence[str] = (), *, num: int, row: str | None, html: Path | None
) -> None:
    """Print rows as the model gets them, or write them to a page.

    Args:
        target: a recipe, or a run's folder, whose recipe is read.
        overrides: `path=value` settings.
        num: rows of each training stage; not used with `row`.
        row: one row, as `FILE:LINE` or by its id.
        html: the page's file; without it rows are printed.

    Raises:
        RecipeError: there is no such file, folder or row, or no page can be written there.
        DataError: rows have mistakes.
    """
    from rich.console import Console

    from adatta.pipeline.rows_page import print_rows, write_rows
    from adatta.pipeline.rows_view import view_rows

    _require(target)
    if html is not None and (html.is_dir() or not html.parent.is_dir()):  # told before the rows are read
        what = "a folder, not a file" if html.is_dir() else "no such folder to write a page to"
        raise RecipeError(Problem(where=str(html), what=what, hint="Name a file such as rows.html."))
    context = open_context(target / "recipe.yaml" if target.is_dir() else target, overrides)
    stages = view_rows(context, num=num, name=row)
    seed = context.recipe.seed
    choice = row or f"{num} rows of a stage: the first in its order of training, which seed {seed} draws"
    if html is None:
        print_rows(stages, Console(), choice=choice, folds=row is None)
    else:
        write_rows(stages, html, title=context.recipe.name, choice=choice)
        print(f"wrote {html}")


def _require(target: Path) -> None:
    if not target.exists():
        hint = "Name a recipe (YAML) or a folder in runs/."
        raise RecipeError(Problem(where=str(target), what="no such recipe or run", hint=hint))


def _state(planned: PlannedStage, run_dir: Path) -> str:
    if planned.artefact is not None:
        return "done   "
    return "stopped" if any(run_dir.glob(f"*-{planned.kind}-{planned.fingerprint}")) else "to do  "
