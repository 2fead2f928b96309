"""TRL's trainers on our ids, masks, order of rows and adapter start, in the variants that a user may choose.

TRL 1.16.0 reads its head in chunks, at every position where there is no Triton, and makes entropy and
accuracy on the way; it has no switch for these metrics, so `metrics: false` leaves them out of its head's
chunks here. Its packing gives positions that begin again with each row and no mask; transformers' `sdpa`
makes of that a mask in which rows don't see each other, so it is right on a CPU, without the flash attention
that TRL asks for in a warning.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import trl.trainer.utils
from datasets import Dataset, disable_progress_bars
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer, pack_dataset

from bench.cases import CONTEXT, SEED, STEP_ROWS, Case, Group, in_order, make_settings
from tests.areas.oracles.trl_losses import Losses, as_labels, as_pair

_CHUNKED = trl.trainer.utils._ChunkedLogProbFunction


class _LogProbsOnly:
    """TRL's head without the numbers that its metrics are made of: they are zero."""

    @staticmethod
    def apply(*given: Any) -> tuple[Any, ...]:
        logp, *_ = _CHUNKED.apply(*given[:-1], ("log_probs",))
        zero = torch.zeros_like(logp.detach())
        return logp, zero, None, zero, zero.bool()


class _PairTrainer(DPOTrainer):
    """Takes rows that are ids already, and counts what the reference takes before the training."""

    reference_s = 0.0

    def _prepare_dataset(self, dataset, *args, **options):
        return dataset

    def _precompute_ref_logps(self, *args, **options):
        start = time.perf_counter()
        dataset = super()._precompute_ref_logps(*args, **options)
        self.reference_s += time.perf_counter() - start
        return dataset


def train_with_trl(spec: dict[str, Any], case: Case, rows: Sequence[Group], *, clock: Any) -> dict[str, Any]:
    """Train on rows once.

    Args:
        spec: `precision`, `packing` and `metrics` of SFT, `precompute` of DPO.
        case: whose model and adapter it is.
        rows: what is trained on.
        clock: starts when the rows are in memory and the model is loaded.

    Returns:
        The losses of the steps, and the seconds from the clock's start to the last step.
    """
    warnings.simplefilter("ignore")
    disable_progress_bars()
    trl.trainer.utils._ChunkedLogProbFunction = _CHUNKED if spec.get("metrics", True) else _LogProbsOnly
    ordered = in_order(case, rows)
    base = AutoModelForCausalLM.from_pretrained(case.model_folder, dtype="float32")
    base.config.use_cache = False
    losses = Losses()
    with tempfile.TemporaryDirectory() as folder:
        shared = {
            "model": PeftModel.from_pretrained(base, case.start, is_trainable=True),
            "processing_class": AutoTokenizer.from_pretrained(case.model_folder),
            "callbacks": [losses],
        }
        options = _options(spec, case, folder)
        make = _make_dpo if case.kind == "dpo" else _make_sft
        trainer, before_s = make(spec, ordered, options, shared)
        clock.start()
        trainer.train()
    return {"losses": losses.values, "seconds": before_s + clock.seconds}


def _make_sft(
    spec: dict[str, Any], ordered: Sequence[Group], options: dict[str, Any], shared: dict[str, Any]
) -> tuple[SFTTrainer, float]:
    packing = spec.get("packing", False)
    start = time.perf_counter()
    dataset = Dataset.from_list([as_labels(group[0]) for group in ordered])
    if packing:
        dataset = pack_dataset(dataset, CONTEXT, "bfd")
        options["per_device_train_batch_size"] = 1
    before_s = time.perf_counter() - start
    config = SFTConfig(**options, packing=packing, dataset_kwargs={"skip_prepare_dataset": True})
    return SFTTrainer(args=config, train_dataset=dataset, **shared), before_s


def _make_dpo(
    spec: dict[str, Any], ordered: Sequence[Group], options: dict[str, Any], shared: dict[str, Any]
) -> tuple[DPOTrainer, float]:
    start = time.perf_counter()
    dataset = Dataset.from_list([as_pair(group) for group in ordered])
    before_s = time.perf_counter() - start
    beta = make_settings("dpo").beta
    config = DPOConfig(**options, beta=beta, precompute_ref_log_probs=spec.get("precompute", False))
    trainer = _PairTrainer(args=config, train_dataset=dataset, **shared)
    return trainer, before_s + trainer.reference_s


def _options(spec: dict[str, Any], case: Case, folder: str) -> dict[str, Any]:
    settings = make_settings(case.kind)
    return {
        "output_dir": folder,
        "per_device_train_batch_size": STEP_ROWS,
        "max_length": CONTEXT,
        "learning_rate": settings.optimizer.lr,
        "weight_decay": settings.optimizer.weight_decay,
        "max_grad_norm": settings.optimizer.clip,
        "lr_scheduler_type": "constant",
        "num_train_epochs": 1,
        "logging_steps": 1,
        "train_sampling_strategy": "sequential",
        "bf16": spec["precision"] == "bf16",
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": SEED,
    }
