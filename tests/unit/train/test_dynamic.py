"""Dynamic preferences: the formulas in plain Python, the draw's distribution, whole stages."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from adatta.core.events import read_metrics
from adatta.core.settings import DpoSettings, DynamicSettings
from adatta.train import loop
from adatta.train.dynamic import Running, choose_beta, draw_pairs, move, plan_step
from adatta.train.stage import TrainJob, train_stage
from tests.toys.rows import preferences
from tests.unit.train.conftest import MEASURED
from tests.unit.train.test_stage import adapter, interrupt

pytestmark = pytest.mark.torch

MARGINS = [1.0, 3.0, -2.0, 6.0]  # mean 2, squares around it 1 + 1 + 16 + 16


def test_the_running_figures_move_by_the_momentum():
    moved = move(Running(mean=1.0, spread=0.5), MARGINS, momentum=0.75)
    assert moved.mean == pytest.approx(0.75 * 1.0 + 0.25 * 2.0)
    assert moved.spread == pytest.approx(0.75 * 0.5 + 0.25 * math.sqrt(34 / 3))
    assert move(Running(mean=0.0), [4.0], momentum=0.5) == Running(mean=2.0, spread=0.0)


def test_beta_follows_the_distance_from_the_running_mean_and_stays_positive():
    running = Running(mean=1.5)
    assert choose_beta(MARGINS, running, beta=0.1, strength=0.6) == pytest.approx(0.1 * 1.3)
    assert choose_beta([-9.0], running, beta=0.1, strength=0.6) == 1e-3


def test_pairs_are_drawn_by_their_gaussian_weight_without_replacement():
    """Two of three: the chance of each set, first and then second, by hand."""
    running = Running(mean=0.0, spread=1.0)
    margins = [0.0, 1.0, 2.0]
    weights = [math.exp(-0.5 * margin**2) for margin in margins]
    total, num = sum(weights), 6000
    expected = Counter()
    for first in range(3):
        for second in {0, 1, 2} - {first}:
            chance = weights[first] / total * weights[second] / (total - weights[first])
            expected[frozenset((first, second))] += chance
    found = Counter(
        frozenset(draw_pairs(margins, running, keep_share=0.67, seed=str(seed))) for seed in range(num)
    )
    for kept, chance in expected.items():
        assert abs(found[kept] / num - chance) < 4 * math.sqrt(chance * (1 - chance) / num)


def test_far_margins_and_no_spread_can_still_be_drawn():
    far = [1e6 * number for number in range(10)]
    assert draw_pairs(far, Running(mean=0.0, spread=1e-3), keep_share=0.8, seed="1") == list(range(8))
    drawn = {tuple(draw_pairs(far, Running(mean=0.0), keep_share=0.5, seed=str(seed))) for seed in range(20)}
    assert len(drawn) > 10
    assert len(draw_pairs(far[:1], Running(mean=0.0), keep_share=0.1, seed="1")) == 1
    assert draw_pairs(far, Running(mean=0.0), keep_share=1.0, seed="1") == list(range(10))


def test_a_step_puts_them_together():
    settings = DynamicSettings(momentum=0.5, keep_share=0.5, strength=0.4)
    plan = plan_step(MARGINS, Running(mean=0.0, spread=2.0), settings=settings, beta=0.2, seed="3")
    assert plan.running == move(Running(mean=0.0, spread=2.0), MARGINS, momentum=0.5)
    mean = sum(MARGINS[place] for place in plan.kept) / 2
    assert len(plan.kept) == 2
    assert plan.beta == pytest.approx(0.2 * (1 + 0.4 * (mean - 1.0)))


@pytest.fixture
def job(toy_folder, tmp_path):
    def make(name, *, forest_tokens=120, precision="fp32", **settings):
        chosen = {
            "data": [{"path": "rows"}],
            "method": "lora",
            "adapter": {"rank": 4, "alpha": 8},
            "optimizer": {"lr": 2e-2},
            "batch": {"rows": 8, "forest_tokens": forest_tokens},
            "budget": {"steps": 6},
            "dynamic": {},
            **settings,
        }
        return TrainJob(
            kind="dpo",
            settings=DpoSettings.model_validate(chosen),
            model_folder=toy_folder,
            train=preferences(24),
            holdout=(),
            out_dir=tmp_path / name,
            seed=11,
            context=512,
            precision=precision,
        )

    return make


def lines(job):
    return [
        {key: value for key, value in row.items() if key not in MEASURED}
        for row in read_metrics(job.out_dir / "metrics.jsonl")
    ]


@pytest.mark.parametrize("normalised", [False, True])
def test_accumulation_does_not_change_a_step(job, wide_norms, monkeypatch, normalised):
    """One forest, some, and each pair in its own: the same betas, kept pairs, losses and weights."""
    plans = []
    real = loop.plan_step
    monkeypatch.setattr(loop, "plan_step", lambda *args, **kw: plans.append(real(*args, **kw)) or plans[-1])
    runs = []
    for forest_tokens in (10_000, 130, 1):
        one = job(
            str(forest_tokens), forest_tokens=forest_tokens, precision="fp64", length_normalised=normalised
        )
        results = train_stage(one)
        assert results["filtered_pairs"] == 6 * 2
        runs.append((lines(one), adapter(one), [plan.kept for plan in plans[-6:]]))
    assert len({row["beta"] for row in runs[0][0]}) > 3
    assert {(row["kept_pairs"], row["filtered_pairs"]) for row in runs[0][0]} == {(6, 2)}
    for other_lines, other_adapter, kept in runs[1:]:
        assert kept == runs[0][2]
        for row, first in zip(other_lines, runs[0][0], strict=True):
            for key in ("loss", "beta", "margin", "kl", "grad_norm"):
                assert row[key] == pytest.approx(first[key], rel=1e-9)
        assert (other_adapter - runs[0][1]).norm() <= 1e-9 * runs[0][1].norm()


def test_without_strength_and_filter_it_is_plain_dpo(job):
    still = job("still", dynamic={"strength": 0.0, "keep_share": 1.0})
    plain = job("plain", dynamic=None)
    train_stage(still)
    train_stage(plain)
    assert lines(still) == lines(plain)
    assert torch.equal(adapter(still), adapter(plain))


def test_the_first_step_learns_from_all_margins_at_zero(job):
    one = job("first", budget={"steps": 1})
    train_stage(one)
    [row] = lines(one)
    assert row["margin"] == 0.0
    assert row["beta"] == 0.1
    assert row["loss"] == pytest.approx(math.log(2), rel=1e-15)


def test_a_stopped_stage_goes_on_with_its_running_figures(job, monkeypatch):
    whole, broken = job("whole"), replace(job("broken"), checkpoint_s=0.0)
    train_stage(whole)
    interrupt(broken, monkeypatch, after=2)
    train_stage(broken)
    assert lines(broken) == lines(whole)
    assert torch.equal(adapter(whole), adapter(broken))
