"""Score many token rows, a forest at a time: their log-probs, and whether they are what greedy would say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from adatta.core.records import TokenRow
from adatta.model.forest import build_forest, pack_rows
from adatta.model.score import EngineName, score_tokens

FOREST_TOKENS = 4096  # a few-shot prompt of 700 tokens then costs a sixth on top of what it is shared by


class RowScore(NamedTuple):
    """A row's summed log-prob in nats, and whether each scored token was the most likely one at its place."""

    log_prob: float
    is_greedy: bool


def score_rows(
    model: Any,
    rows: Sequence[TokenRow],
    *,
    engine: EngineName = "forest",
    forest_tokens: int = FOREST_TOKENS,
) -> Iterator[dict[int, RowScore]]:
    """Score rows in forests in which all that two rows begin with is computed once.

    Args:
        model: A causal LM of transformers.
        rows: In any order; each with at least one scored token.
        engine: As in `model.score.score`.
        forest_tokens: Largest forest, in tokens; it moves the last bits only.

    Yields:
        Of each forest as soon as it is computed: the scores of its rows by their place in `rows`, summed in
        float64.
    """
    for members in pack_rows(rows, forest_tokens):
        forest = build_forest([rows[index] for index in members]).to(model.device)
        with torch.no_grad():
            found = score_tokens(model, forest, engine=engine)
        row_S = forest.row_S.cpu()
        sums = torch.zeros(len(members), dtype=torch.float64)
        sums.index_add_(0, row_S, found.logp_S.double().cpu())
        missed = torch.zeros(len(members)).index_add_(0, row_S, (~found.is_best_S).float().cpu())
        values = zip(members, sums.tolist(), (missed == 0).tolist(), strict=True)
        yield {index: RowScore(log_prob, is_greedy) for index, log_prob, is_greedy in values}
