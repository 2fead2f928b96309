"""Weights in oneDNN's layout: the same figures, nothing left behind, nothing done where it doesn't belong."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from adatta.model import prepacked as module
from adatta.model.prepacked import prepacked

pytestmark = pytest.mark.torch
IDS_RT = torch.arange(3, 63).view(3, 20)


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # without and with a bias
def test_logits_agree_and_the_plain_layers_come_back(toy_folders, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folders[family, True], dtype=torch.float32).eval()
    with torch.inference_mode():
        plain = model(IDS_RT).logits
        with prepacked(model):
            packed = model(IDS_RT).logits
            assert "forward" in vars(model.model.layers[0].self_attn.q_proj)
        again = model(IDS_RT).logits
    assert (packed - plain).abs().max() < 1e-5
    assert torch.equal(again, plain)
    assert not any("forward" in vars(each) for each in model.modules())


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 2**31), (torch.float32, 100)])
def test_other_precisions_and_large_models_stay_as_they_are(
    toy_folder, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, most: int
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", most)
    model = AutoModelForCausalLM.from_pretrained(toy_folder, dtype=dtype)
    with prepacked(model):
        assert not any("forward" in vars(each) for each in model.modules())


def test_plain_layers_come_back_where_packing_fails(toy_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [lambda x: x]

    def fail_at_the_second(packed, bias):
        return made.pop()

    monkeypatch.setattr(module, "_forward", fail_at_the_second)
    model = AutoModelForCausalLM.from_pretrained(toy_folder, dtype=torch.float32)
    with pytest.raises(IndexError), torch.inference_mode(), prepacked(model):
        raise AssertionError("never begun")
    assert not any("forward" in vars(each) for each in model.modules())


def test_plain_layers_come_back_after_an_error(toy_folder) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folder, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="broken"), torch.inference_mode(), prepacked(model):
        raise RuntimeError("broken")
    assert not any("forward" in vars(each) for each in model.modules())
