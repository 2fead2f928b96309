"""Joined layers with updates: numbers, gradients, memory."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from safetensors.torch import load_file, save_file
from torch import nn

from adatta.core.settings import AdapterSettings
from adatta.model.adapter import add_adapter
from adatta.model.linear import _Products, add_updates_as_peft, add_updates_wide, apply_linear, is_plain, join
from tests.toys.models import toy_model

pytestmark = pytest.mark.torch


def test_joined_matrices_keep_their_values_in_one_memory():
    parts = [nn.Parameter(torch.randn(rows, 5)) for rows in (3, 2, 4)]
    kept = [part.detach().clone() for part in parts]
    whole = join(parts)
    assert torch.equal(whole, torch.cat(kept))
    assert all(torch.equal(part, before) for part, before in zip(parts, kept, strict=True))
    assert join(parts).data_ptr() == whole.data_ptr()
    with torch.no_grad():
        parts[1].add_(1.0)  # as an optimizer does it
    assert torch.equal(join(parts)[3:5], kept[1] + 1)
    assert torch.equal(join(parts[:2]), torch.cat([kept[0], kept[1] + 1]))


def test_parts_in_another_order_are_joined_anew():
    parts = [nn.Parameter(torch.randn(2, 3)) for _ in range(2)]
    join(parts)
    assert torch.equal(join(parts[::-1]), torch.cat([parts[1], parts[0]]))


def test_joined_weights_are_saved_as_any_others(tmp_path):
    parts = {name: nn.Parameter(torch.randn(2, 3)) for name in "ab"}
    join(list(parts.values()))
    save_file({name: part.detach() for name, part in parts.items()}, str(tmp_path / "x.safetensors"))
    assert torch.equal(load_file(tmp_path / "x.safetensors")["b"], parts["b"])


def test_gradients_are_those_of_finite_differences():
    """Bias, residual, two layers with updates and one without, all of them trained, in float64."""
    generator = torch.Generator().manual_seed(0)

    def tensor(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    layers = [
        [tensor(3, 4), tensor(3), tensor(2, 4), tensor(3, 2)],
        [tensor(2, 4), None, None, None],
        [tensor(5, 4), None, tensor(1, 4), tensor(5, 1)],
    ]
    flat = [each for layer in layers for each in layer]
    inputs = (tensor(6, 4), tensor(6, 10), (0.5, 0.0, 2.0), *flat)
    assert torch.autograd.gradcheck(_Products.apply, inputs)


def test_a_small_update_survives_bf16():
    """2^-9 of the output, which bf16 can't hold beside it: rounded away if it were added there."""
    layer = nn.Linear(8, 4, bias=False, dtype=torch.bfloat16)
    adapted = LoraLinear(layer, "default", config=LoraConfig(lora_alpha=1), r=1, lora_alpha=1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        adapted.lora_A["default"].weight.fill_(2.0**-6)
        adapted.lora_B["default"].weight.fill_(2.0**-6)
    output = apply_linear(torch.ones(3, 8), [adapted])
    assert output.dtype == torch.float32
    assert torch.equal(output, torch.full((3, 4), 8 + 8 * 2.0**-12))


def test_autocast_narrows_products_of_wide_weights():
    layer = nn.Linear(8, 4, bias=False)
    x = torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = apply_linear(x, [layer])
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, (x.bfloat16() @ layer.weight.detach().bfloat16().T).float())
    narrow.sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_layers_go_back_to_what_peft_does(tmp_path):
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(toy_model(tmp_path))
    model = add_adapter(base, AdapterSettings(rank=2), seed=0, base_name=str(tmp_path))
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    assert is_plain(layer)
    add_updates_wide(model)
    assert "forward" in vars(layer)
    add_updates_as_peft(model)
    assert "forward" not in vars(layer)
    assert not is_plain(nn.LayerNorm(3))
