"""The first 20 losses of a tiny model are TRL's."""

from __future__ import annotations

import random

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
VARIANTS = {
    "sft": ({}, {}),
    "dpo": ({}, {}),
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


@pytest.mark.parametrize("name", VARIANTS)
def test_the_first_losses_are_those_of_trl(toy_folder, tmp_path, name):
    from tests.areas.oracles.trl_losses import our_losses, trl_losses

    kind = "sft" if name == "sft" else "dpo"
    changed, preference = VARIANTS[name]
    steps = STEPS if name == kind else FEWER_STEPS
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
        settings = DpoSettings.model_validate({**shared, "optimizer": {"lr": 3e-4}, **changed})
        rows = [pair(generator, str(number)) for number in range(60)]
    assert all(40 <= len(row.ids) <= 400 for group in rows for row in group)
    job = TrainJob(
        kind=kind,
        settings=settings,
        model_folder=toy_folder,
        train=rows,
        holdout=(),
        out_dir=tmp_path / "ours",
        seed=3,
        context=512,
    )
    ours, theirs = our_losses(job), trl_losses(job, tmp_path, **preference)
    assert len(ours) == len(theirs) == steps
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert max(ours) - min(ours) > 0.05  # it moves: equal losses are no accident of standing still
