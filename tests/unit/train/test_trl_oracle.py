"""The first 20 losses of a tiny model are TRL's."""

from __future__ import annotations

import random
from typing import Any

import pytest

from adatta.core.records import TokenRow
from adatta.core.settings import DpoSettings, SftSettings
from adatta.train.stage import TrainJob
from tests.toys.rows import random_ids, token_row

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # TRL's and its libraries' own

STEPS, FEWER_STEPS, ROWS = 20, 8, 4


def turns(generator: random.Random, name: str) -> TokenRow:
    """Return 40 to 400 tokens in which two to five answers are scored."""
    weights: list[float] = []
    for _ in range(generator.randint(2, 5)):
        weights += [0.0] * generator.randint(5, 40) + [1.0] * generator.randint(15, 40)
    return TokenRow(ids=random_ids(generator, len(weights)), weights=tuple(weights), row_id=name)


def pair(generator: random.Random, name: str) -> tuple[TokenRow, ...]:
    prompt = random_ids(generator, generator.randint(30, 200))
    return tuple(
        token_row(
            prompt + random_ids(generator, generator.randint(10, 200)),
            unscored=len(prompt),
            row_id=name,
            branch=branch,
        )
        for branch in (0, 1)
    )


# Ours, and what TRL calls the same. Its `aot` sorts margins within a step, and its `sft` takes a mean over
# the step's tokens, not over its pairs: with one pair a step nothing is sorted, and both means are one.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ipo": ({"loss": "ipo", "length_normalised": True}, {"loss_type": ["ipo"]}),
    "normalised": ({"length_normalised": True, "beta": 2.0}, {"loss_type": ["sigmoid_norm"]}),
    "smoothed": (
        {"label_smoothing": 0.2, "batch": {"rows": 1}},
        {"loss_type": ["aot"], "label_smoothing": 0.2},
    ),
    "with sft": (
        {"sft_weight": 0.3, "batch": {"rows": 1}},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]},
    ),
}


def make_job(kind, model_folder, out_dir, *, steps=STEPS, changed=None, **changes) -> TrainJob:
    generator = random.Random(5)
    shared = {
        "data": [{"path": "x"}],
        "method": "lora",
        "schedule": {"name": "constant", "warmup_share": 0.0},
        "batch": {"rows": ROWS, "forest_tokens": 700},
        "budget": {"steps": steps},
    }
    if kind == "sft":
        settings = SftSettings.model_validate({**shared, "optimizer": {"lr": 2e-3}})
        rows = [(turns(generator, str(number)),) for number in range(60)]
    else:
        settings = DpoSettings.model_validate({**shared, "optimizer": {"lr": 3e-4}, **(changed or {})})
        rows = [pair(generator, str(number)) for number in range(60)]
    assert all(40 <= len(row.ids) <= 400 for group in rows for row in group)
    return TrainJob(
        kind=kind,
        settings=settings,
        model_folder=model_folder,
        train=rows,
        holdout=(),
        out_dir=out_dir,
        seed=3,
        context=512,
        **changes,
    )


@pytest.mark.parametrize("engine", ["fused", "forest"])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_first_losses_are_those_of_trl(toy_folder, tmp_path, kind, engine):
    from tests.areas.oracles.trl_losses import our_losses, trl_losses

    job = make_job(kind, toy_folder, tmp_path / "ours", engine=engine)
    ours, theirs = our_losses(job), trl_losses(job, tmp_path)
    assert len(ours) == len(theirs) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert abs(ours[-1] - ours[0]) > 0.05  # it learns: equal losses are no accident of standing still


@pytest.mark.parametrize("engine", ["fused", "forest"])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_bf16_is_no_farther_from_fp32_than_trl_in_bf16(toy_folder, tmp_path, kind, engine):
    """Mean over the steps, each library against its own fp32."""
    from tests.areas.oracles.trl_losses import our_losses, trl_losses

    distances = []
    for losses in (lambda job: our_losses(job), lambda job: trl_losses(job, job.out_dir)):
        found = []
        for precision in ("fp32", "bf16"):
            out_dir = tmp_path / f"{len(distances)}-{precision}"
            found.append(losses(make_job(kind, toy_folder, out_dir, precision=precision, engine=engine)))
        differences = [abs(wide - narrow) for wide, narrow in zip(*found, strict=True)]
        distances.append(sum(differences) / STEPS)
    print(f"{kind} {engine}: ours {distances[0]:.2g}, TRL {distances[1]:.2g}")
    assert 0 < distances[0] <= distances[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_first_losses_of_other_objectives_are_those_of_trl(toy_folder, tmp_path, name):
    from tests.areas.oracles.trl_losses import our_losses, trl_losses

    changed, preference = VARIANTS[name]
    job = make_job("dpo", toy_folder, tmp_path / "ours", steps=FEWER_STEPS, changed=changed)
    ours, theirs = our_losses(job), trl_losses(job, tmp_path, **preference)
    assert len(ours) == len(theirs) == FEWER_STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert max(ours) - min(ours) > 0.02  # it moves: equal losses are no accident of standing still
