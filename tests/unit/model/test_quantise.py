"""NF4 kept dequantised against bitsandbytes' own layer and against the published code book."""

from __future__ import annotations

import bitsandbytes
import pytest
import torch
from torch import nn

from adatta.model.quantise import BLOCK, nf4_round_trip, quantise_base

pytestmark = pytest.mark.torch

# arXiv:2305.14314 appendix E
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


def weights(dtype=torch.float32):
    return (0.02 * torch.randn(128, 64, generator=torch.Generator().manual_seed(1))).to(dtype)


def test_round_trip_takes_the_nearest_of_sixteen_levels():
    weight_OI = weights()
    back_OI = nf4_round_trip(weight_OI)
    blocks = weight_OI.reshape(-1, BLOCK)
    largest = blocks.abs().amax(-1, keepdim=True)
    levels = torch.tensor(NF4)
    nearest = (blocks[..., None] / largest[..., None] - levels).abs().argmin(-1)
    expected = (levels[nearest] * largest).reshape(weight_OI.shape)
    # Double quantisation rounds the blocks' largest values to 8 bits.
    assert (back_OI - expected).abs().max() <= 0.01 * largest.max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kept_layer_computes_what_bitsandbytes_computes(dtype):
    weight_OI, inputs = weights(dtype), torch.randn(9, 64).to(dtype)
    theirs = bitsandbytes.nn.Linear4bit(
        64, 128, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4"
    )
    theirs.weight = bitsandbytes.nn.Params4bit(
        weight_OI.clone(), requires_grad=False, compress_statistics=True, quant_type="nf4"
    )
    theirs = theirs.to("cpu").train()
    ours = nn.Linear(64, 128, bias=False, dtype=dtype)
    ours.weight.data = nf4_round_trip(weight_OI)
    torch.testing.assert_close(ours(inputs), theirs(inputs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_four_bit_and_dequantised_layers_agree(training):
    model = nn.ModuleDict({"one": nn.Linear(64, 128), "two": nn.Linear(64, 128)})
    model["two"].load_state_dict(model["one"].state_dict())
    model.requires_grad_(False)
    quantise_base(model, ["one"], dequantise=True)
    quantise_base(model, ["two"], dequantise=False)
    assert isinstance(model["two"], bitsandbytes.nn.Linear4bit)
    assert model["two"].weight.nbytes * 8 == model["one"].weight.nbytes
    model.train(training)
    inputs = torch.randn(9, 64)
    torch.testing.assert_close(model["two"](inputs), model["one"](inputs), rtol=1e-6, atol=1e-6)


def test_float64_keeps_its_dtype():
    weight_OI = weights(torch.float64)
    assert torch.equal(nf4_round_trip(weight_OI), nf4_round_trip(weight_OI.float()).double())
