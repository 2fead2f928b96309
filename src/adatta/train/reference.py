"""The reference of DPO: each answer's log-prob under the stage's input model, taken once and kept."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from adatta.core.artefact import write_json
from adatta.core.errors import DivergedError
from adatta.core.records import TokenRow
from adatta.model.adapter import Trainable
from adatta.model.score import EngineName, score
from adatta.train.batches import Batch
from adatta.train.losses import row_sums

# R rows of a forest


class Reference:
    """Weighted sums of log-probs, in nats, by row id and branch."""

    def __init__(self, sums: Mapping[tuple[str, int], float]) -> None:
        self._sums = dict(sums)

    def of(self, rows: Sequence[TokenRow]) -> Tensor:
        """Return the sums of rows [R], float64."""
        return torch.tensor([self._sums[row.row_id, row.branch] for row in rows], dtype=torch.float64)

    def save(self, path: Path, source: str) -> None:
        """Write the sums.

        Args:
            path: of the file.
            source: fingerprint of what they were taken from: model, rows (ids, so the template too),
                precision, engine.
        """
        sums = [[row_id, branch, value] for (row_id, branch), value in self._sums.items()]
        write_json(path, {"source": source, "sums": sums})


def load_reference(path: Path, source: str) -> Reference | None:
    """Return kept sums, or None where there are none or they were taken from something else.

    Args:
        path: of the file.
        source: what they must have been taken from.
    """
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["source"] != source:
        return None
    return Reference({(row_id, branch): value for row_id, branch, value in kept["sums"]})


def take_reference(trainable: Trainable, batches: Iterable[Batch], *, engine: EngineName) -> Reference:
    """Compute the sums under the input model, on the very forests that training will compute.

    A row that comes again in a later epoch keeps its first value. With an adapter, the adapter is off; all
    else is as for the policy, so that the first margin is exactly 0.

    Args:
        trainable: before its first step.
        batches: the forests of the plan, in its order.
        engine: the one that will train.

    Raises:
        DivergedError: if a log-prob is not finite.
    """
    model = trainable.model
    sums: dict[tuple[str, int], float] = {}
    adapter_off = nullcontext() if trainable.method == "full" else model.disable_adapter()
    with torch.no_grad(), adapter_off, trainable.computing():
        for batch in batches:
            if all((row.row_id, row.branch) in sums for row in batch.rows):
                continue
            logp_S = score(model, batch.forest, engine=engine)
            values = row_sums(logp_S, batch.forest, num_rows=len(batch.rows)).tolist()
            for row, value in zip(batch.rows, values, strict=True):
                sums.setdefault((row.row_id, row.branch), value)
    wrong = [row_id for (row_id, _), value in sums.items() if not math.isfinite(value)]
    if wrong:
        raise DivergedError(f"the input model's log-prob of row {wrong[0]} is not finite; check the row")
    return Reference(sums)
