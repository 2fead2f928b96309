"""The one optimisation loop: steps over forests, held-out loss, checkpoints, metrics."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adatta.core.errors import DivergedError
from adatta.core.events import MetricsLog
from adatta.core.progress import track
from adatta.core.settings import DpoSettings, DynamicSettings, TrainSettings
from adatta.model.adapter import Trainable
from adatta.model.score import EngineName, score
from adatta.train.batches import Batch, Group, Order
from adatta.train.checkpoint import Checkpoints, Progress
from adatta.train.dynamic import Running, StepPlan, plan_step
from adatta.train.losses import Objective, Terms, pair_margins
from adatta.train.optimizer import make_optimizer
from adatta.train.reference import Reference, load_reference, take_reference
from adatta.train.schedule import learning_rate
from adatta.train.watch import Meter, describe_fall

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
REFERENCE = "reference.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What decides a stage's result, and where it goes.

    `train` and `holdout` hold one group of token rows for each row of data; `context` is the longest token
    row; `checkpoint_s` the seconds between checkpoints.
    """

    kind: Literal["sft", "dpo", "adapt"]
    settings: TrainSettings
    model_folder: Path
    train: Sequence[Group]
    holdout: Sequence[Group]
    out_dir: Path
    seed: int
    context: int
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    engine: Literal["auto", "forest", "fused", "plain"] = "auto"
    checkpoint_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """All that a loop needs: what is trained, on what, in which order, towards what.

    `measure_at` holds the numbers of done steps after which held-out rows are measured; `key` names the work
    in its checkpoints.
    """

    trainable: Trainable
    job: TrainJob
    order: Order
    objective: Objective
    measure_at: frozenset[int]
    holdout: Sequence[Group]
    engine: EngineName
    meter: Meter
    key: str


def train(work: Work) -> Progress:
    """Do all planned steps, going on from the last checkpoint, and leave the weights that are kept.

    Args:
        work: what to do.

    Returns:
        What was done.

    Raises:
        DivergedError: if a loss or a gradient is not finite.
        CheckpointError: if the folder holds a checkpoint of other work.
    """
    loop = _Loop(work)
    with (
        MetricsLog(work.job.out_dir / METRICS, resume_step=loop.resume_step) as metrics,
        track(len(work.order.steps), work.job.kind, unit="steps") as shown,
    ):
        shown.advance(loop.progress.step)
        loop.run(metrics, shown.advance)
    return loop.progress


class _Loop:
    def __init__(self, work: Work) -> None:
        self.work = work
        self.parameters = work.trainable.parameters()
        settings = work.job.settings
        self._preference = settings if isinstance(settings, DpoSettings) else None
        self.optimizer = make_optimizer(settings.optimizer, list(self.parameters.values()))
        self._reference = self._take_reference() if work.objective.needs_reference else None
        self._checkpoints = Checkpoints(
            folder=work.job.out_dir / CHECKPOINTS,
            job=work.key,
            parameters=self.parameters,
            optimizer=self.optimizer,
        )
        torch.manual_seed(work.job.seed)
        found = self._checkpoints.load()
        self.progress, self.best = found or (Progress(), None)
        self.resume_step = found[0].step if found else None
        self._checkpointed_s = time.monotonic()

    def _take_reference(self) -> Reference:
        """Return the kept reference, else take it now, before the first step, and keep it."""
        work = self.work
        path = work.job.out_dir / REFERENCE
        if kept := load_reference(path, work.key):
            return kept
        with track(len(work.order.steps), f"{work.job.kind} reference", unit="steps") as shown:

            def batches() -> Iterator[Batch]:
                yield from work.order.packing.batches(work.holdout)
                for step in work.order.steps:
                    yield from work.order.packing.batches([work.order.rows[index] for index in step])
                    shown.advance(1)

            reference = take_reference(work.trainable, batches(), engine=work.engine)
        reference.save(path, work.key)
        return reference

    def run(self, metrics: MetricsLog, shown: Callable[[float, str], None]) -> None:
        progress, plan = self.progress, self.work.order.steps
        self.work.trainable.model.train()
        if progress.step == 0:
            self._measure(metrics)
        while progress.step < len(plan):
            row = self._step([self.work.order.rows[index] for index in plan[progress.step]])
            metrics.append(row)
            shown(1, f"loss {row['loss']:.3f}")
            self._measure(metrics)
            is_due = time.monotonic() - self._checkpointed_s >= self.work.job.checkpoint_s
            if is_due or progress.step == len(plan):
                self._checkpoints.save(progress, self.best)
                self._checkpointed_s = time.monotonic()
        if self.best is not None:
            with torch.no_grad():
                for name, value in self.best.items():
                    self.parameters[name].copy_(value)

    def _step(self, groups: Sequence[Group]) -> dict[str, float]:
        began = time.monotonic()
        progress, work = self.progress, self.work
        settings = work.job.settings
        rate = learning_rate(
            settings.schedule, lr=settings.optimizer.lr, step=progress.step, num_steps=len(work.order.steps)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batches = list(work.order.packing.batches(groups))
        figures = self._losses(batches, groups, learn=True)
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), settings.optimizer.clip))
        if not math.isfinite(figures["loss"]) or not math.isfinite(norm):
            raise DivergedError(
                f"step {progress.step + 1}: the loss is {figures['loss']} and the gradient's norm {norm}; "
                "lower optimizer.lr or look at the rows of this step"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(batch.forest.num_tokens for batch in batches)
        scored = sum(len(batch.forest.scored_S) for batch in batches)
        progress.step += 1
        progress.tokens += tokens
        progress.scored_tokens += scored
        seconds = time.monotonic() - began
        progress.time_s += seconds
        progress.first_loss = figures["loss"] if progress.first_loss is None else progress.first_loss
        progress.last_loss = figures["loss"]
        progress.filtered_pairs += int(figures.get("filtered_pairs", 0))
        if not progress.warnings and (warning := describe_fall(figures, step=progress.step)):
            progress.warnings.append(warning)
            _log.warning(warning)
        return {
            "step": progress.step,
            **figures,
            "lr": rate,
            "tokens": tokens,
            "scored_tokens": scored,
            "grad_norm": norm,
            **work.meter.figures(tokens=tokens, scored=scored, seconds=seconds),
        }

    def _losses(self, batches: Iterable[Batch], groups: Sequence[Group], *, learn: bool) -> dict[str, float]:
        """Return loss and figures over all forests; add up gradients if asked."""
        work, preference = self.work, self._preference
        total = math.fsum(work.objective.mass(group) for group in groups)
        beta = preference.beta if preference else 0.0
        plan, ready_S = None, None
        if learn and preference and preference.dynamic:
            batches = list(batches)
            plan, ready_S = self._plan_pairs(batches, preference, preference.dynamic)
            total, beta = float(len(plan.kept)), plan.beta
        sums: dict[str, float] = {"loss": 0.0}
        for batch in batches:
            is_kept_K = torch.tensor([place in plan.kept for place in batch.places]) if plan else None
            terms = Terms(settings=work.job.settings, beta=beta, is_kept_K=is_kept_K)
            with torch.set_grad_enabled(learn), work.trainable.computing():
                logp_S = self._score(batch) if ready_S is None else ready_S
                loss, figures = work.objective.loss(logp_S, batch.forest, self._reference_of(batch), terms)
            if learn and (is_kept_K is None or is_kept_K.any()):
                torch.autograd.backward(loss / total)
            for name, value in {"loss": float(loss.detach()), **figures}.items():
                sums[name] = sums.get(name, 0.0) + value
        figures = {"loss": sums["loss"] / total, **work.objective.figures(sums)}
        if learn and preference:
            pairs = {"kept_pairs": int(total), "filtered_pairs": len(groups) - int(total)}
            return figures | {"beta": beta, **pairs}
        return figures

    def _plan_pairs(
        self, batches: Sequence[Batch], preference: DpoSettings, dynamic: DynamicSettings
    ) -> tuple[StepPlan, Tensor | None]:
        """Decide a step from the margins of all its pairs; return a lone forest's log-probs for its loss."""
        progress, is_alone = self.progress, len(batches) == 1
        margins: dict[int, float] = {}
        for batch in batches:
            with torch.set_grad_enabled(is_alone), self.work.trainable.computing():
                logp_S = self._score(batch)
            margin_K = pair_margins(
                logp_S.detach(),
                batch.forest,
                reference_R=self._reference_of(batch),
                length_normalised=preference.length_normalised,
            )
            margins.update(zip(batch.places, margin_K.tolist(), strict=True))
        if not all(map(math.isfinite, margins.values())):
            raise DivergedError(f"step {progress.step + 1}: the margin of a pair is no finite number")
        mean = dynamic.initial_margin if progress.margin_mean is None else progress.margin_mean
        plan = plan_step(
            [margins[place] for place in sorted(margins)],
            Running(mean=mean, spread=progress.margin_spread),
            settings=dynamic,
            beta=preference.beta,
            seed=f"{self.work.job.seed} {progress.step}",
        )
        progress.margin_mean, progress.margin_spread = plan.running.mean, plan.running.spread
        return plan, logp_S if is_alone else None

    def _score(self, batch: Batch) -> Tensor:
        return score(self.work.trainable.model, batch.forest, engine=self.work.engine)

    def _reference_of(self, batch: Batch) -> Tensor | None:
        return self._reference.of(batch.rows) if self._reference else None

    def _measure(self, metrics: MetricsLog) -> None:
        progress, work = self.progress, self.work
        if progress.step not in work.measure_at:
            return
        work.trainable.model.eval()
        figures = self._losses(work.order.packing.batches(work.holdout), work.holdout, learn=False)
        work.trainable.model.train()
        loss = figures["loss"]
        if not math.isfinite(loss):
            raise DivergedError(f"after step {progress.step} the held-out loss is {loss}")
        named = {f"holdout_{name}": value for name, value in figures.items()}
        metrics.append({"step": progress.step, **named})
        progress.holdout.append({"step": progress.step, "loss": loss})
        if work.job.settings.keep == "best" and (progress.best_loss is None or loss < progress.best_loss):
            progress.best_loss, progress.best_step = loss, progress.step
            self.best = {name: value.detach().clone() for name, value in self.parameters.items()}
