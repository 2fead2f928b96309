"""What a training stage computes doesn't change without its version."""

from __future__ import annotations

import json

import pytest

from adatta.core.settings import VERSIONS
from tests.golden.make_training import STORED, figures

pytestmark = pytest.mark.torch

TOLERANCE = 1e-4  # relative: holds on every processor
AGAIN = "run `python -m tests.golden.make_training`"


@pytest.mark.parametrize("kind", ["sft", "dpo", "adapt"])
def test_a_stage_computes_what_its_version_says(tmp_path, kind):
    stored = json.loads(STORED.read_text(encoding="utf-8"))[kind]
    assert stored.pop("version") == VERSIONS[kind], f"the version of {kind} is new: {AGAIN}"
    found = figures(kind, tmp_path)
    for name, values in stored.items():
        assert found[name] == pytest.approx(values, rel=TOLERANCE), (
            f"{name} of {kind} changed: raise its number in VERSIONS, then {AGAIN}"
        )
