"""Short names of models: none of those given is lost."""

from __future__ import annotations

import pytest

from adatta.pipeline.measuring import name_models


@pytest.mark.parametrize(
    "models",
    [
        ["runs/demo", "other/demo", "third/demo-2", "demo-2"],
        ["base", "x/base", "control-plain", "7B", "hub/7B"],
        [f"{'lungo' * 20}/{'nome' * 30}-{number}" for number in range(3)],
    ],
)
def test_every_model_has_a_name_of_its_own(models):
    named = name_models(models)
    assert list(named.values()) == models
    assert all(name != "base" and not name.startswith("control-") and len(name) <= 60 for name in named)
