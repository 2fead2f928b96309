"""`auto` takes bf16 only where it is clearly faster."""

from __future__ import annotations

import pytest
import torch

from adatta.model import precision
from adatta.model.precision import choose_precision, measure_products, measure_steps

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"fp32": 1.0, "bf16": 8.0}, "fp32"),
        ({"fp32": 1.0, "bf16": 0.95}, "fp32"),
        ({"fp32": 7.0, "bf16": 1.0}, "bf16"),
    ],
)
def test_auto_follows_the_measurement(monkeypatch, seconds, expected):
    monkeypatch.setattr(precision, "measure_steps", lambda: seconds)
    assert choose_precision() == expected


def test_measurement_is_real_and_done_once():
    first = measure_products()
    assert measure_products() is first
    # 1.07e9 operations can't be done in 10 microseconds (107 TFLOP/s) on a CPU, nor take a minute
    assert all(1e-6 < value < 60 for value in first.values())


def test_steps_are_measured_without_moving_random_numbers():
    before = torch.get_rng_state()
    seconds = measure_steps()
    assert torch.equal(torch.get_rng_state(), before)
    assert set(seconds) == {"fp32", "bf16"}
    assert all(1e-5 < value < 60 for value in seconds.values())
