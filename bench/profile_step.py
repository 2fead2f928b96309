"""What a training step of each kind spends its time on: the five largest costs, as shares."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile

from adatta.train.stage import train_stage
from bench.cases import Case, make_job

LARGEST = 5


def profile_cases(cases: Mapping[str, Case]) -> None:
    """Print a table for each case: the second step of two with engine `fused`, the first warms up.

    Args:
        cases: by their kinds; the rows to warm up on and those to train on make two steps together.
    """
    for kind, case in cases.items():
        print(kind)
        for name, share in profile_step(case):
            print(f"  {share:6.1%}  {name}", flush=True)


def profile_step(case: Case) -> list[tuple[str, float]]:
    """Return the largest costs of a step: operators by the processor time spent in themselves."""
    profiler = profile(activities=[ProfilerActivity.CPU])
    steps = iter((profiler.start, profiler.stop))
    hook = register_optimizer_step_post_hook(lambda *_: next(steps, lambda: None)())
    try:
        with tempfile.TemporaryDirectory() as folder:
            train_stage(make_job(case, [*case.warm, *case.train], Path(folder), engine="fused"))
    finally:
        hook.remove()
    costs = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(costs.values())
    ranked = sorted(costs.items(), key=lambda item: -item[1])[:LARGEST]
    return [(name, cost / total) for name, cost in ranked]
