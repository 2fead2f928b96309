"""One training stage from rows to trained weights: the same parts for every kind, chosen by a table."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, compress
from typing import Any

import torch

from adatta.core.errors import DataError, TrainError
from adatta.core.fingerprint import content_id, hash_folder, list_id
from adatta.core.settings import VERSIONS, TrainSettings
from adatta.model.adapter import Trainable, load_trainable, save_trained
from adatta.model.exactness import choose_engine
from adatta.model.files import read_config
from adatta.model.forest import Forest, count_tokens
from adatta.model.load import free_bytes
from adatta.model.memory import ModelShape, train_memory
from adatta.model.score import EngineName, score
from adatta.train.batches import Branches, Group, Order, Packing
from adatta.train.checkpoint import Progress
from adatta.train.loop import TrainJob, Work, train
from adatta.train.losses import OBJECTIVES
from adatta.train.schedule import holdout_steps, plan_steps
from adatta.train.watch import Meter

__all__ = ["Order", "TrainJob", "plan_order", "train_stage"]

ADAPTER = "adapter"
_NAMED = 5  # rows that an error names
_TRIED_SHARE = 0.5  # of the free memory that a stage may be expected to need untried, on a CPU


def train_stage(job: TrainJob) -> dict[str, Any]:
    """Train, going on from the last checkpoint; leave `adapter/`, `metrics.jsonl`, for DPO the reference.

    Args:
        job: what to do.

    Returns:
        The results for the stage's record.

    Raises:
        RecipeError: if a target of the adapter names no linear layer of the model.
        DataError: if a row can't be trained on.
        ExactnessError: if the engine asked for is not exact on this model.
        DivergedError: if a loss is not finite.
        TrainError: if memory is too small.
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
    with trainable.computing():
        engine = choose_engine(trainable.model, job.train[0][0].ids, engine=job.engine)
    work = _plan_work(job, trainable, engine)
    memory = prepare_memory(work)
    progress = train(work)
    save_trained(trainable, job.out_dir / ADAPTER)
    return {**_results(job, work, progress), **memory}


def refuse_unusable(job: TrainJob) -> None:
    """Check the rows before anything is loaded.

    Args:
        job: what to do.

    Raises:
        DataError: if there are no rows, one is longer than the context, has nothing to learn, or lacks a
            branch.
    """
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


def prepare_memory(work: Work) -> dict[str, Any]:
    """Have layers computed again for their gradient if that is asked for or needed; try the largest forest.

    Args:
        work: what to do, its model loaded.

    Returns:
        Facts for the record: whether layers are `recomputed` (the result is the same, the time a third
        more), and the `largest_forest` with the bytes that it was estimated to take beside the weights.

    Raises:
        TrainError: if the largest forest doesn't fit into memory.
    """
    settings, trainable, free = work.job.settings, work.trainable, free_bytes()
    indices = work.order.largest()

    def predict(*, is_recomputed: bool) -> int:
        need = train_memory(
            work.meter.shape,
            method=settings.method,
            precision="fp32" if work.job.precision == "fp64" else work.job.precision,
            adapter=settings.adapter,
            forest_tokens=sum(work.order.tokens[index] for index in indices),
            is_recomputed=is_recomputed,
        )
        return need.total - need.weights

    is_short = predict(is_recomputed=False) > free
    recomputed = {"always": True, "never": False}.get(settings.batch.checkpointing, is_short)
    predicted = predict(is_recomputed=recomputed)
    if recomputed:
        model = trainable.model.get_base_model() if settings.method != "full" else trainable.model
        model.activation_checkpointing_enable()
    [largest] = work.order.packing.batches([work.order.rows[index] for index in indices])
    # On a CPU the estimate is trusted where it leaves room: a trial takes as long as a step.
    is_tried = torch.cuda.is_available() or predicted > _TRIED_SHARE * free
    if is_tried:
        try_forest(trainable, largest.forest, engine=work.engine)
    forest = {"tokens": largest.forest.num_tokens, "predicted_bytes": predicted, "tried": is_tried}
    return {"recomputed": recomputed, "largest_forest": forest}


def try_forest(trainable: Trainable, forest: Forest, *, engine: EngineName) -> None:
    """Compute a forest forward and backward and throw its gradients away; random numbers stay as they were.

    Args:
        trainable: ready to train.
        forest: the largest one.
        engine: the one that will train.

    Raises:
        TrainError: if memory is too small for it.
    """
    try:
        with torch.random.fork_rng():
            with trainable.computing():
                logp_S = score(trainable.model, forest, engine=engine)
            torch.autograd.backward(logp_S.sum())
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise TrainError(
            f"memory is too small for the largest forest, {forest.num_tokens} tokens ({error}); lower "
            "batch.forest_tokens, or set batch.checkpointing: always"
        ) from error
    finally:
        for parameter in trainable.parameters().values():
            parameter.grad = None


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
    shape = ModelShape.of(read_config(job.model_folder))
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
        meter=Meter.of(shape, method=job.settings.method, precision=job.precision),
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
    apart = ("step", "time_s", "best_step", "best_loss", "margin_mean", "margin_spread")
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
