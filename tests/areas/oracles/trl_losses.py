"""The losses of TRL's trainers on our ids, masks, order of rows and adapter start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from adatta.core.records import TokenRow
from adatta.core.settings import TrainSettings
from adatta.model.adapter import load_trainable, save_trained
from adatta.model.forest import count_tokens
from adatta.train.schedule import plan_steps
from adatta.train.stage import TrainJob, train_stage

LONGEST = 1024


class Losses(TrainerCallback):
    """Keeps what a trainer of TRL logs as its loss, step by step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if logs and "loss" in logs:
            self.values.append(float(logs["loss"]))


def our_losses(job: TrainJob) -> list[float]:
    """Return the loss of each step of a stage."""
    from adatta.core.events import read_metrics

    train_stage(job)
    return [row["loss"] for row in read_metrics(job.out_dir / "metrics.jsonl") if "loss" in row]


def trl_losses(job: TrainJob, folder: Path, **preference: Any) -> list[float]:
    """Return what TRL's trainer logs for the same stage, padded, one loss a step.

    `preference` are further settings of its DPO.
    """
    settings = job.settings
    model = _model_with_our_start(job, folder / "start")
    callback = Losses()
    options: dict[str, Any] = {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": settings.batch.rows,
        "max_length": LONGEST,
        "learning_rate": settings.optimizer.lr,
        "weight_decay": settings.optimizer.weight_decay,
        "max_grad_norm": settings.optimizer.clip,
        "lr_scheduler_type": "constant",
        "num_train_epochs": 1,
        "logging_steps": 1,
        "train_sampling_strategy": "sequential",
        "bf16": job.precision == "bf16",
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    tokenizer = AutoTokenizer.from_pretrained(job.model_folder)
    groups = _in_order(job)
    shared = {"model": model, "processing_class": tokenizer, "callbacks": [callback]}
    if job.kind == "dpo":
        config = DPOConfig(**options, beta=settings.beta, **preference)
        text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        trainer = DPOTrainer(args=config, train_dataset=text, **shared)
        trainer.train_dataset = Dataset.from_list([as_pair(group) for group in groups])
    else:
        config = SFTConfig(**options, dataset_kwargs={"skip_prepare_dataset": True})
        rows = Dataset.from_list([as_labels(group[0]) for group in groups])
        trainer = SFTTrainer(args=config, train_dataset=rows, **shared)
    trainer.train()
    return callback.values


def _model_with_our_start(job: TrainJob, folder: Path) -> Any:
    settings: TrainSettings = job.settings
    start = load_trainable(
        job.model_folder,
        method=settings.method,
        settings=settings.adapter,
        precision=job.precision,
        seed=job.seed,
    )
    save_trained(start, folder)
    base = AutoModelForCausalLM.from_pretrained(job.model_folder, dtype="float32")
    base.config.use_cache = False
    return PeftModel.from_pretrained(base, str(folder), is_trainable=True)


def _in_order(job: TrainJob) -> list[Sequence[TokenRow]]:
    sizes = [count_tokens(group) for group in job.train]
    plan = plan_steps(sizes, rows=job.settings.batch.rows, budget=job.settings.budget, seed=job.seed)
    return [job.train[index] for step in plan for index in step]


def as_labels(row: TokenRow) -> dict[str, list[int]]:
    """Return a row as SFTTrainer takes it: what is not scored has the label -100."""
    labels = [token if weight else -100 for token, weight in zip(row.ids, row.weights, strict=True)]
    return {"input_ids": list(row.ids), "labels": labels}


def as_pair(group: Sequence[TokenRow]) -> dict[str, list[int]]:
    """Return two branches as DPOTrainer's collator takes them."""
    chosen, rejected = group
    prompt = chosen.weights.index(1.0)
    assert chosen.ids[:prompt] == rejected.ids[:prompt]
    return {
        "prompt_ids": list(chosen.ids[:prompt]),
        "chosen_ids": list(chosen.ids[prompt:]),
        "rejected_ids": list(rejected.ids[prompt:]),
    }
