"""The scores of two models, item by item."""

from __future__ import annotations

from collections.abc import Mapping

from adatta.core.errors import EvalError
from adatta.core.records import Score, is_control

Rows = Mapping[str, Score]  # of one model, task and metric, by item id


def pair_scores(base: Rows, rows: Rows) -> list[tuple[Score, Score]]:
    """Pair two models' scores of the items that both were scored on.

    Raises:
        EvalError: They were asked other items, or the same items with other prompts.
    """
    one, other = next(iter(base.values())), next(iter(rows.values()))
    where = f"{one.task}: {one.stage} and {other.stage}"
    hashes = [{item: row.item_hash for item, row in each.items()} for each in (base, rows)]
    if hashes[0] != hashes[1] or one.suite_version != other.suite_version:
        raise EvalError(f"{where} were asked different items; evaluate both with the same suite")
    same_prompts = not (is_control(one.stage) or is_control(other.stage))
    for item, row in rows.items():
        if same_prompts and row.prompt_hash != base[item].prompt_hash:
            raise EvalError(f"{where} were given different prompts for item {item}; evaluate both alike")
    pairs = [(before, rows[item]) for item, before in base.items()]
    return [pair for pair in pairs if pair[0].status == pair[1].status == "scored"]


def score_value(row: Score) -> float:
    """Give the score of a scored item.

    Raises:
        EvalError: It has none.
    """
    if row.score is None:
        raise EvalError(f"item {row.item_id} of {row.task} is scored without a score; evaluate again")
    return row.score
