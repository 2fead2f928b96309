"""One training stage from rows to trained weights: the same parts for every kind, chosen by a table."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, compress
from typing import Any

from adatta.core.errors import DataError, RecipeError
from adatta.core.fingerprint import content_id, hash_folder, list_id
from adatta.core.settings import VERSIONS, TrainSettings
from adatta.model.adapter import Trainable, free_bytes, load_trainable, save_trained
from adatta.model.exactness import choose_engine
from adatta.model.files import read_config
from adatta.model.forest import count_tokens
from adatta.model.memory import ModelShape, train_memory
from adatta.model.score import EngineName
from adatta.train.batches import Branches, Group, Order, Packing
from adatta.train.checkpoint import Progress
from adatta.train.loop import TrainJob, Work, train
from adatta.train.losses import OBJECTIVES
from adatta.train.schedule import holdout_steps, plan_steps

__all__ = ["Order", "TrainJob", "plan_order", "train_stage"]

ADAPTER = "adapter"
_NAMED = 5  # rows that an error names


def train_stage(job: TrainJob) -> dict[str, Any]:
    """Train, going on from the last checkpoint; leave `adapter/`, `metrics.jsonl`, for DPO the reference.

    Args:
        job: what to do.

    Returns:
        The results for the stage's record.

    Raises:
        RecipeError: if settings ask for what the rows can't give.
        DataError: if a row can't be trained on.
        ExactnessError: if the engine asked for is not exact on this model.
        DivergedError: if a loss is not finite.
        CheckpointError: if the folder holds a checkpoint of another job.
    """
    refuse_unusable(job)
    settings = job.settings
    job.out_dir.mkdir(parents=True, exist_ok=True)
    trainable = load_trainable(
        job.model_folder,
        method=settings.method,
        settings=settings.adapter,
        precision=job.precision,
        seed=job.seed,
    )
    trainable.model.train()
    recomputed = spare_memory(job, trainable)
    with trainable.computing():
        ids = job.train[0][0].ids
        engine = choose_engine(trainable.model, ids, engine=job.engine)
    work = _plan_work(job, trainable, engine)
    progress = train(work)
    save_trained(trainable, job.out_dir / ADAPTER)
    return {**_results(job, work, progress), "recomputed": recomputed}


def refuse_unusable(job: TrainJob) -> None:
    """Check the rows against the settings before anything is loaded.

    Args:
        job: what to do.

    Raises:
        RecipeError: if `keep: best` has no held-out rows to choose by.
        DataError: if there are no rows, one is longer than the context, has nothing to learn, or lacks a
            branch.
    """
    if job.settings.keep == "best" and not job.holdout:
        raise RecipeError("keep: best chooses by held-out loss, and no row is held out; use keep: last")
    if job.settings.merge.into == "dequantised" and job.settings.method != "qlora":
        raise RecipeError(
            f"merge.into: dequantised needs the 4-bit base of method: qlora, given {job.settings.method}"
        )
    if not job.train:
        raise DataError(f"{job.kind} has no training rows; give at least one")
    branches = OBJECTIVES[job.kind].branches
    faults: dict[str, list[str]] = {
        f"are longer than the context of {job.context} tokens": [],
        "have no token to learn": [],
        f"don't have {branches} branches": [],
    }
    for group in chain(job.train, job.holdout):
        is_wrong = (
            any(len(row.ids) > job.context for row in group),
            any(not any(row.weights[1:]) for row in group),
            branches is not None and len(group) != branches,
        )
        for found in compress(faults.values(), is_wrong):
            found.append(group[0].row_id)
    for fault, found in faults.items():
        if found:
            names = ", ".join(found[:_NAMED])
            raise DataError(f"{len(found)} rows of {job.kind} {fault}: {names}; nothing is cut or skipped")


def spare_memory(job: TrainJob, trainable: Trainable) -> bool:
    """Let layers be computed again for their gradient where memory is too small to keep what they made.

    Args:
        job: the stage.
        trainable: its model, loaded.

    Returns:
        Whether they are; the result is the same, the time a third more.
    """
    settings = job.settings
    need = train_memory(
        ModelShape.of(read_config(job.model_folder)),
        method=settings.method,
        precision="fp32" if job.precision == "fp64" else job.precision,
        rank=settings.adapter.rank,
        forest_tokens=settings.batch.forest_tokens,
        targets=settings.adapter.targets,
    )
    if need.total - need.weights <= free_bytes():
        return False
    model = trainable.model.get_base_model() if settings.method != "full" else trainable.model
    model.activation_checkpointing_enable()
    return True


def plan_order(settings: TrainSettings, groups: Sequence[Group], *, kind: str, seed: int) -> Order:
    """Plan which rows each step sees; branches that may be trained one by one are rows of their own.

    Args:
        settings: of the stage.
        groups: a group of token rows for each row of data.
        kind: of the stage.
        seed: decides the order.
    """
    share_prefix = settings.adapter.dropout == 0 and getattr(settings, "share_prefix", True)
    packing = Packing(forest_tokens=settings.batch.forest_tokens, share_prefix=share_prefix)
    rows = _divide(groups, kind)
    tokens = array("q", (count_tokens(group, share_prefix=share_prefix) for group in rows))
    steps = plan_steps(tokens, rows=settings.batch.rows, budget=settings.budget, seed=seed)
    return Order(rows=rows, tokens=tokens, steps=steps, packing=packing)


def _divide(groups: Sequence[Group], kind: str) -> Sequence[Group]:
    return groups if OBJECTIVES[kind].branches else Branches(groups)


def _plan_work(job: TrainJob, trainable: Trainable, engine: EngineName) -> Work:
    order = plan_order(job.settings, job.train, kind=job.kind, seed=job.seed)
    holdout = _divide(job.holdout, job.kind)
    share_prefix = order.packing.share_prefix
    measure_at = holdout_steps(
        len(order.steps),
        tokens=sum(order.tokens[index] for step in order.steps for index in step),
        holdout_tokens=sum(count_tokens(group, share_prefix=share_prefix) for group in holdout),
    )
    return Work(
        trainable=trainable,
        job=job,
        order=order,
        objective=OBJECTIVES[job.kind],
        measure_at=measure_at,
        holdout=holdout,
        engine=engine,
        key=_job_key(job, engine),
    )


def _job_key(job: TrainJob, engine: EngineName) -> str:
    rows = (
        [[row.row_id, row.branch, row.ids, row.weights] for row in group]
        for group in chain(job.train, job.holdout)
    )
    return content_id(
        {
            "kind": job.kind,
            "version": VERSIONS[job.kind],
            "settings": job.settings.model_dump(mode="json"),
            "model": hash_folder(job.model_folder, ("*.safetensors", "config.json")),
            "rows": list_id(rows),
            "num_train": len(job.train),
            "seed": job.seed,
            "precision": job.precision,
            "engine": engine,
        }
    )


def _results(job: TrainJob, work: Work, progress: Progress) -> dict[str, Any]:
    apart = ("step", "time_s", "best_step", "best_loss")
    seconds = max(progress.time_s, 1e-9)
    return {
        "steps": progress.step,
        **{name: value for name, value in asdict(progress).items() if name not in apart},
        "kept_step": progress.step if progress.best_step is None else progress.best_step,
        "tokens_per_s": round(progress.tokens / seconds, 1),
        "scored_tokens_per_s": round(progress.scored_tokens / seconds, 1),
        "engine": work.engine,
        "method": job.settings.method,
        "base": work.trainable.base,
        "precision": job.precision,
    }
