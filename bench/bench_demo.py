"""SFT against TRL padded: the demo's rows, steps, adapter and start; ratio of scored tokens a second.

Both run in this process, one after the other, in rounds that alternate; the losses of both are compared too.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import torch
from trl import SFTTrainer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adatta.chat.render import Chat  # noqa: E402
from adatta.core.recipe import load_recipe  # noqa: E402
from adatta.core.runtime import describe_runtime  # noqa: E402
from adatta.core.settings import BudgetSettings, ScheduleSettings  # noqa: E402
from adatta.lang.profile import load_profile  # noqa: E402
from adatta.model.load import fetch  # noqa: E402
from adatta.pipeline.prepare import prepare_stage  # noqa: E402
from adatta.train.stage import TrainJob, train_stage  # noqa: E402
from tests.areas.oracles.trl_losses import trl_losses  # noqa: E402

ROUNDS = 2
STEPS = 4  # padded to the longest of the step, as TRL's collator does


def main() -> None:
    """Measure and write bench/results/bench_demo.json."""
    recipe = load_recipe(ROOT / "recipes" / "demo.yaml").recipe
    base = fetch(recipe.model.name)
    chat = Chat.load(base.folder, system_prompt=load_profile(recipe.language).system_prompt)
    stage = recipe.stages[0]
    # TRL's runs know a constant rate from the first step and no 4-bit base on this path: both do the same.
    settings = stage.training.model_copy(
        update={
            "method": "lora",
            "schedule": ScheduleSettings(name="constant", warmup_share=0.0),
            "budget": BudgetSettings(steps=STEPS),
        }
    )
    rows = prepare_stage(stage, recipe, chat).train[: STEPS * settings.batch.rows]
    scored = sum(weight > 0 for group in rows for row in group for weight in row.weights)
    rounds = []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            job = TrainJob(
                kind="sft",
                settings=settings,
                model_folder=base.folder,
                train=rows,
                holdout=(),
                out_dir=Path(folder) / "ours",
                seed=recipe.seed,
                context=recipe.context,
                engine="forest",
            )
            ours = train_stage(job)
            seconds, losses = time_trl(job, Path(folder))
        rounds.append(
            {
                "ours_scored_tokens_per_s": ours["scored_tokens_per_s"],
                "trl_scored_tokens_per_s": round(scored / seconds, 1),
                "ratio": round(ours["scored_tokens_per_s"] * seconds / scored, 2),
                "last_losses": [ours["last_loss"], losses[-1]],
            }
        )
        print(f"round {number + 1}: {rounds[-1]}", flush=True)
    result = {
        "case": f"{len(rows)} conversations, {settings.batch.rows} a step, {scored} scored tokens",
        "rounds": rounds,
        "ratio": round(sum(row["ratio"] for row in rounds) / ROUNDS, 2),
        "machine": describe_runtime(device="cpu", threads=torch.get_num_threads()).cpu,
        "python": platform.python_version(),
    }
    path = ROOT / "bench" / "results" / "bench_demo.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"SFT: {result['ratio']} times TRL padded in scored tokens a second (goal 1.9)")


def time_trl(job: TrainJob, folder: Path) -> tuple[float, list[float]]:
    """Return the seconds of TRL's training loop alone, and its losses."""
    spent = []
    train = SFTTrainer.train

    def timed(self, *args, **options):
        start = time.perf_counter()
        result = train(self, *args, **options)
        spent.append(time.perf_counter() - start)
        return result

    SFTTrainer.train = timed
    try:
        losses = trl_losses(job, folder)
    finally:
        SFTTrainer.train = train
    return spent[0], losses


if __name__ == "__main__":
    main()
