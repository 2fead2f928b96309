"""Make the stored numbers of the training stages: `python -m tests.golden.make_training`.

A tiny float64 Llama with its weights from a seed; per stage six steps of four rows, QLoRA, three rows held
out. Float64 and 1e-4 leave room for the last bits of other processors, and for nothing else.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from adatta.core.events import read_metrics
from adatta.core.settings import VERSIONS, AdaptSettings, DpoSettings, SftSettings
from adatta.train.stage import TrainJob, train_stage
from tests.toys.models import toy_model
from tests.toys.rows import conversations, preferences

STORED = Path(__file__).with_name("training.json")
_SETTINGS = {"sft": SftSettings, "dpo": DpoSettings, "adapt": AdaptSettings}
_CHOSEN: dict[str, Any] = {
    "data": [{"path": "rows"}],
    "optimizer": {"lr": 2e-3},
    "batch": {"rows": 4, "forest_tokens": 120},
    "budget": {"steps": 6},
}


def figures(kind: str, folder: Path) -> dict[str, Any]:
    """Train one stage in `folder` and return what must not change."""
    groups = (preferences if kind == "dpo" else conversations)(15, seed=4)
    job = TrainJob(
        kind=kind,
        settings=_SETTINGS[kind].model_validate(_CHOSEN),
        model_folder=toy_model(folder / "model"),
        train=groups[3:],
        holdout=groups[:3],
        out_dir=folder / "out",
        seed=7,
        context=512,
        precision="fp64",
    )
    results = train_stage(job)
    steps = [row for row in read_metrics(job.out_dir / "metrics.jsonl") if "loss" in row]
    return {
        "version": VERSIONS[kind],
        "losses": [row["loss"] for row in steps],
        "grad_norms": [row["grad_norm"] for row in steps],
        "rates": [row["lr"] for row in steps],
        "tokens": [row["tokens"] for row in steps],
        "holdout": [point["loss"] for point in results["holdout"]],
    }


def main() -> None:
    """Write the file anew."""
    stored = {}
    for kind in _SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            stored[kind] = figures(kind, Path(folder))
    STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
