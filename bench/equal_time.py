"""A chain of TRL's trainers with as many seconds of training as one of adatta's runs took, on the same rows.

TRL keeps its defaults: rows padded, 8 a step, gradient checkpointing, a linear rate. From the run come rows,
ids, masks, order of stages, methods, adapters, learning rates, terms of the loss (TRL's SFT term counts
tokens alike, ours pairs) and precision, so that what differs is how much it gets done. The time is that of
our whole stage: loading, DPO's reference, held-out rows, merge and proof are ours, and TRL has all of it for
its steps. How many steps fit into the time is estimated by three steps before, so that the rate comes down to
0 at its end.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from adatta.pipeline.context import open_context
from tests.areas.oracles.trl_losses import as_labels, as_pair

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = 1024
TRIED = 3  # steps by which the time of one is estimated
ROWS = 8  # TRL's default


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ends.append(time.perf_counter() - self.start)


def train_and_compare(run: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Train TRL's chain and compare it with a run's last model, item by item.

    Args:
        run: the run's folder.
        overrides: with which the run was made of the demo's recipe.

    Returns:
        For each stage seconds, steps and tokens of both; the metrics of both as `compare` gives them, TRL in
        the place of the base.
    """
    warnings.simplefilter("ignore")
    disable_progress_bars()
    context = open_context(ROOT / "recipes" / "demo.yaml", overrides)
    folder, spent = context.base.folder, {}
    with tempfile.TemporaryDirectory() as work:
        for planned in context.plan:
            if planned.kind not in ("sft", "dpo", "adapt"):
                continue
            record = planned.artefact.record
            seconds = record["time_s"]
            out = Path(work) / planned.name
            rows = context.rows[planned.name].train
            told = _train(planned, rows, folder, out, seconds, context.recipe.precision)
            ours = {"seconds": seconds, "tokens": record["results"]["tokens"]}
            spent[planned.name] = {"ours": ours, "trl": told}
            print(planned.name, spent[planned.name], flush=True)
            folder = out
        return {"stages": spent, "metrics": _compare(context, folder, run)}


def _train(
    planned: Any, groups: Sequence[Any], model: Path, out: Path, seconds: float, precision: str
) -> dict[str, Any]:
    """Train one stage for so many seconds and leave the merged model in `out`."""
    clock = _Clock()
    with tempfile.TemporaryDirectory() as work:
        _make(planned, groups, model, work, TRIED, clock, precision).train()
        step_s = (clock.ends[-1] - clock.ends[0]) / (TRIED - 1)
        steps = max(1, int(seconds / step_s))
        clock = _Clock()
        trainer = _make(planned, groups, model, work, steps, clock, precision)
        trainer.train()
        trained = trainer.model
        (trained.merge_and_unload() if isinstance(trained, PeftModel) else trained).save_pretrained(out)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)
    return {
        "seconds": round(clock.ends[-1], 1),
        "steps": steps,
        "rows": steps * ROWS,
    }


def _make(
    planned: Any,
    groups: Sequence[Any],
    folder: Path,
    work: str,
    steps: int,
    clock: _Clock,
    precision: str,
) -> Any:
    settings = planned.stage.training
    base = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    base.config.use_cache = False
    options: dict[str, Any] = {
        "output_dir": work,
        "max_steps": steps,
        "max_length": CONTEXT,
        "learning_rate": settings.optimizer.lr,
        "bf16": precision == "bf16",
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    shared = {
        "model": base if settings.method == "full" else get_peft_model(base, _adapter(settings.adapter)),
        "processing_class": AutoTokenizer.from_pretrained(folder),
        "callbacks": [clock],
    }
    if planned.kind == "dpo":
        text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        terms = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, settings.sft_weight]}
        config = DPOConfig(**options, beta=settings.beta, **(terms if settings.sft_weight else {}))
        trainer = DPOTrainer(args=config, train_dataset=text, **shared)
        trainer.train_dataset = Dataset.from_list([as_pair(group) for group in groups])
        return trainer
    rows = Dataset.from_list([as_labels(row) for group in groups for row in group])
    config = SFTConfig(**options, dataset_kwargs={"skip_prepare_dataset": True})
    return SFTTrainer(args=config, train_dataset=rows, **shared)


def _adapter(settings: Any) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.rslora,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _compare(context: Any, folder: Path, run: Path) -> list[dict[str, Any]]:
    """Measure TRL's model as the run's models were, and compare the run's last one with it."""
    from dataclasses import replace

    from adatta.evals.ask import Limits, make_subject
    from adatta.evals.compare import compare
    from adatta.evals.runner import evaluate_model, pick_engine
    from adatta.evals.scores import read_scores
    from adatta.model.load import load_model

    (planned,) = (each for each in context.plan if each.kind == "evaluate")
    last = [each.name for each in context.plan if each.kind in ("sft", "dpo", "adapt")][-1]
    model = load_model(folder, context.recipe.precision)
    engine = pick_engine(model, context.chat, engine="auto")
    limits = Limits(context=context.recipe.context, max_new_tokens=planned.stage.evaluation.max_new_tokens)
    theirs = [
        score
        for suite in context.suites[planned.name]
        for score in evaluate_model(
            model,
            context.chat,
            suite=suite,
            subject=make_subject("trl", "trl", context.profile),
            limits=limits,
            engine=engine,
        )
    ]
    scores = read_scores(run / planned.artefact.folder.name / "scores.parquet")
    ours = [replace(score, stage="adatta") for score in scores if score.stage == last]
    return compare([*theirs, *ours], base_stage="trl", stages=["adatta"])
