"""Train once in this process, ours or TRL, after a warm-up of one step: `train_once.py SPEC.json`.

The clock runs from rows that are in memory as ids, with the model loaded, to the last optimizer step:
planning, packing and the reference of DPO are inside, loading and saving are not.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adatta.core.events import read_metrics  # noqa: E402
from adatta.core.settings import BudgetSettings, OptimizerSettings  # noqa: E402
from adatta.train import stage  # noqa: E402
from bench.apart import RESULT  # noqa: E402
from bench.cases import SEED, Case, make_job, make_settings  # noqa: E402
from bench.rounds import peak_bytes  # noqa: E402


class Clock:
    """Seconds from `start` to the last optimizer step so far, of whatever optimizer."""

    def __init__(self) -> None:
        self.steps = 0
        self._began = self._ended = 0.0
        register_optimizer_step_post_hook(lambda *_: self._step())

    def start(self) -> None:
        """Begin to count, also the steps."""
        self.steps = 0
        self._began = time.perf_counter()

    def _step(self) -> None:
        self.steps += 1
        self._ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        """What the steps took."""
        return self._ended - self._began


def train_ours(spec: dict[str, Any], case: Case, clock: Clock) -> dict[str, Any]:
    """Train with our stage; the clock begins when model and engine are there."""
    told: dict[str, Any] = {}
    stage.choose_engine = _then(stage.choose_engine, clock.start)
    for name, rows in (("warm", case.warm), ("train", case.train)):
        with tempfile.TemporaryDirectory() as folder:
            changes = {"precision": spec["precision"], "engine": spec["engine"]}
            job = make_job(case, rows, Path(folder), **changes)
            results = stage.train_stage(job)
            metrics = list(read_metrics(job.out_dir / "metrics.jsonl"))
        told[name] = [row["loss"] for row in metrics if "loss" in row]
        gc.collect()  # the model that warmed up must not count in the peak
    return {"losses": told["train"], "warm_loss": told["warm"][0], "engine": results["engine"]}


def train_trl(spec: dict[str, Any], case: Case, clock: Clock) -> dict[str, Any]:
    """Train with TRL; see bench/peer.py for its variants."""
    from bench.peer import train_with_trl

    warm = train_with_trl(spec, case, case.warm, clock=clock)
    gc.collect()
    result = train_with_trl(spec, case, case.train, clock=clock)
    return {**result, "warm_loss": warm["losses"][0]}


def train_method(spec: dict[str, Any], case: Case, clock: Clock) -> dict[str, Any]:
    """Train by a method of ours; the held-out loss is measured after every step if a curve is wanted."""
    stage.holdout_steps = lambda num_steps, **_: frozenset(range(num_steps + 1) if spec["curve"] else ())
    settings = make_settings(
        case.kind,
        method=spec["method"],
        optimizer=OptimizerSettings(lr=spec["lr"]),
        budget=BudgetSettings(steps=spec["steps"]),
    )
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(case, case.train, Path(folder), settings=settings, holdout=case.holdout)
        clock.start()
        results = stage.train_stage(job)
        metrics = list(read_metrics(job.out_dir / "metrics.jsonl"))
    return {
        "step_s": [row["time_s"] for row in metrics if "loss" in row],
        "losses": [row["loss"] for row in metrics if "loss" in row],
        "holdout": [row["holdout_loss"] for row in metrics if "holdout_loss" in row],
        "tokens": results["tokens"],
        "engine": results["engine"],
        "base": results["base"],
    }


def _then(function: Callable[..., Any], after: Callable[[], None]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        after()
        return result

    return wrapped


WORK = {"ours": train_ours, "trl": train_trl, "method": train_method}


def main() -> None:
    """Do what the file says and print the result as the last line."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(SEED)
    clock = Clock()
    result = WORK[spec["who"]](spec, Case.load(Path(spec["case"])), clock)
    result = {"seconds": clock.seconds, "steps": clock.steps, **result, "peak_bytes": peak_bytes()}
    print(RESULT + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
