"""What is shown of rows: text, ids, mask, place in the data, and the forest that each falls into."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adatta.core.errors import Problem, RecipeError
from adatta.core.records import Row, TokenRow, shared_length
from adatta.pipeline.branches import render
from adatta.pipeline.context import Context
from adatta.pipeline.plan import TRAINING, PlannedStage
from adatta.pipeline.sources import read_structure, show_path

if TYPE_CHECKING:
    from adatta.chat.pieces import Piece
    from adatta.train.stage import Order

Part = tuple[str, "Piece"]
"""A piece, and its text with all visible."""

_STEPS_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchView:
    """One branch as it is computed, and in words the forest that it falls into."""

    name: str
    parts: tuple[Part, ...]
    num_tokens: int
    num_scored: int
    forest: str

    @property
    def lengths(self) -> str:
        """Its lengths in words."""
        share = self.num_scored / self.num_tokens
        return f"{self.num_tokens} tokens, {self.num_scored} scored ({share:.0%})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """A row: where it stands in the data, what becomes of it, its branches."""

    row_id: str
    place: str
    use: str
    branches: tuple[BranchView, ...]


def view_rows(context: Context, *, num: int, name: str | None = None) -> dict[str, list[RowView]]:
    """Show rows of each training stage.

    Args:
        context: of the run.
        num: so many, the first ones that its optimizer steps see.
        name: just this row instead: `FILE:LINE`, or its id.

    Returns:
        The rows by stage.

    Raises:
        RecipeError: no stage reads a row of this name.
    """
    from adatta.train.stage import plan_order

    views = {}
    for planned in (planned for planned in context.plan if planned.kind in TRAINING):
        groups, settings = context.rows[planned.name].train, planned.stage.training
        order = plan_order(settings, groups, kind=planned.kind, seed=context.recipe.seed)
        seen = (order.rows[index][0].row_id for step in order.steps for index in step)
        wanted: dict[str, None] = {}
        while name is None and len(wanted) < num and (row_id := next(seen, None)):
            wanted[row_id] = None
        found = _find_rows(planned, name, wanted)
        rows = [found[row_id] for row_id in wanted or found]
        views[planned.name] = [_view_row(context, planned, order=order, row=row) for row in rows]
    if name is not None and not any(views.values()):
        hint = "give FILE:LINE, or 16 hexadecimal digits; a bad row is told by check, or in quarantine.jsonl"
        raise RecipeError(Problem(where=name, what="no training stage reads this row", hint=hint))
    return views


def _find_rows(planned: PlannedStage, name: str | None, wanted: Container[str]) -> dict[str, Row]:
    """Read the data again, as texts aren't kept, and return the rows with an id or a name, by id."""
    found: dict[str, Row] = {}
    for row in read_structure(planned.stage, is_strict=False):
        place = f"{row.origin.path}:{row.origin.line}"
        if row.row_id in wanted or (name and (row.row_id == name.lower() or _is_place(place, name))):
            found.setdefault(row.row_id, row)
    return found


def _is_place(place: str, name: str) -> bool:
    (path, _, line), (other, _, number) = place.rpartition(":"), name.rpartition(":")
    return line == number and Path(path).resolve() == Path(other).resolve()


def _view_row(context: Context, planned: PlannedStage, *, order: Order, row: Row) -> RowView:
    from adatta.chat.pieces import show_texts, split_pieces

    settings = planned.stage.training
    branches = render(row, context.chat, recipe=context.recipe, settings=settings).group
    rows = context.rows[planned.name]
    use = "not used: put aside, or left out by its source's weight or rows"
    for there, groups in {"for training": rows.train, "held out, never trained": rows.holdout}.items():
        use = there if any(group[0].row_id == row.row_id for group in groups) else use
    views = []
    for branch in branches:
        pieces = split_pieces(branch, context.chat)
        views.append(
            BranchView(
                name=_name(planned.kind, branch, len(branches)),
                parts=tuple(zip(show_texts(pieces), pieces, strict=True)),
                num_tokens=len(branch.ids),
                num_scored=sum(weight > 0 for weight in branch.weights),
                forest=_tell_forest(order, branch),
            )
        )
    place = f"{show_path(row.origin.path)}:{row.origin.line}"
    return RowView(row_id=row.row_id, place=place, use=use, branches=tuple(views))


def _name(kind: str, branch: TokenRow, count: int) -> str:
    if kind == "dpo":
        return ("chosen", "rejected")[branch.branch]
    part = "window" if kind == "adapt" else "part"
    return f"{part} {branch.branch + 1} of {count}" if count > 1 else ""


def _tell_forest(order: Order, branch: TokenRow) -> str:
    """Say which forest a branch falls into, and what it shares there."""
    from adatta.model.forest import count_tokens, pack

    mine = {index for index, group in enumerate(order.rows) if branch in group}
    steps = [(number, step) for number, step in enumerate(order.steps, start=1) if mine.intersection(step)]
    if not steps:
        return "in no step: the budget ends before" if mine else ""
    number, step = steps[0]
    limit, shares = order.packing.forest_tokens, order.packing.share_prefix
    packed = pack([order.rows[index] for index in step], limit, share_prefix=shares)
    forests = [[step[place] for place in forest] for forest in packed]
    place = next(place for place, forest in enumerate(forests) if mine.intersection(forest))
    rows = [row for index in forests[place] for row in order.rows[index]]
    tokens = count_tokens(rows, share_prefix=shares)
    text = f"step {number}, forest {place + 1} of {len(forests)}: {tokens} tokens, {len(forests[place])} rows"
    longest = max((shared_length(branch.ids, row.ids) for row in rows if row != branch), default=0)
    if shares and longest:
        sharing = sum(row.ids[:longest] == branch.ids[:longest] for row in rows)
        text += f"; its first {longest} tokens are computed once for {sharing} branches"
    again = ", ".join(str(later) for later, _ in steps[1:_STEPS_NAMED])
    return f"{text}; again in step {again}{', ...' * (len(steps) > _STEPS_NAMED)}" if again else text
