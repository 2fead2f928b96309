"""Choose between fp32 and bf16 by measuring both on this machine."""

from __future__ import annotations

from functools import cache
from timeit import repeat

import torch
from transformers import LlamaConfig, LlamaForCausalLM

# M, K, N: sides of a matrix product, as large as those of a small model with a forest of 512 tokens;
# T tokens, E features

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SIDES = (512, 1024, 1024)
PRODUCT_FLOP = 2 * _SIDES[0] * _SIDES[1] * _SIDES[2]  # of one measured product
_REPEATS = 5
_STEP_TOKENS = 512
_STEP_REPEATS = 2
_WORTH = 1.2  # bf16 keeps 8 bits of a number's 24: it must be clearly faster


def choose_precision() -> str:
    """Return `fp32` or `bf16`, whichever makes a step faster here, measured once in a process."""
    seconds = measure_steps()
    return "bf16" if seconds["fp32"] > _WORTH * seconds["bf16"] else "fp32"


@cache
def measure_steps() -> dict[str, float]:
    """Return the seconds that a small model's forward and backward take in each precision, the best of two.

    Products alone say too little: where bf16 speeds them up, what stands between them may cost more.
    """
    return {name: _time_step(dtype) for name, dtype in PRECISIONS.items()}


def _time_step(dtype: torch.dtype) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = LlamaConfig(
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=4096,
    )
    state = torch.get_rng_state()  # the weights that are made here must not move a run's random numbers
    model = LlamaForCausalLM(shape).to(device=device, dtype=dtype).requires_grad_(False)
    torch.set_rng_state(state)
    ids_1T = torch.arange(_STEP_TOKENS, device=device)[None]

    def step() -> None:
        embedded_1TE = model.get_input_embeddings()(ids_1T).requires_grad_()
        model(inputs_embeds=embedded_1TE, labels=ids_1T).loss.backward()
        embedded_1TE.grad[0, 0, 0].item()  # waits for the device

    return min(repeat(step, number=1, repeat=_STEP_REPEATS + 1))  # the first one warms up


@cache
def measure_products() -> dict[str, float]:
    """Return the seconds that one matrix product takes in each precision, the best of five."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: _time_product(dtype, device) for name, dtype in PRECISIONS.items()}


def _time_product(dtype: torch.dtype, device: str) -> float:
    rows, inner, columns = _SIDES
    left_MK = torch.ones(rows, inner, dtype=dtype, device=device)
    right_KN = torch.ones(inner, columns, dtype=dtype, device=device)
    # The first one warms up; taking a number out waits for the device.
    return min(repeat(lambda: (left_MK @ right_KN)[0, 0].item(), number=1, repeat=_REPEATS + 1))
