"""The fused engine: the Llama family's decoder over a forest, few temporaries, gradients by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from adatta.model.architecture import FUSED
from adatta.model.attend import ForestAttention
from adatta.model.attention.branches import Rule
from adatta.model.forest import Forest
from adatta.model.linear import apply_linear, is_plain, product_dtype, widen

# T tokens of the forest, P of them that are read (in the last block, else all), E features, H heads of
# D features, F inner features


class _Shared(NamedTuple):
    """What all blocks of a forward share: who sees whom, and the rotation's halves [T, 1, D / 2]."""

    forest: ForestAttention
    cos: Tensor
    sin: Tensor
    dtype: torch.dtype


def explain_unfused(model: Any) -> str | None:
    """Say why a model can't be computed by fused blocks; None where it can.

    Args:
        model: a causal LM of transformers, with or without PEFT's adapter layers inside.
    """
    name = type(model).__name__
    if name not in FUSED:
        return f"a {name} is not of the Llama family ({', '.join(FUSED)})"
    if model.config.hidden_act not in ("silu", "swish"):
        return f"its activation is {model.config.hidden_act}, not silu"
    for layer_name, layer in model.get_decoder().named_modules():
        if layer_name.endswith("_proj") and not is_plain(layer):
            return f"{layer_name} has dropout or isn't a plain low-rank layer"
    return None


def decode(model: Any, forest: Forest, *, read_P: Tensor) -> Tensor:
    """Return the last hidden states of some tokens, normed, in fp32 (float64 for a float64 model).

    Args:
        model: a causal LM for which `explain_unfused` finds nothing.
        forest: the rows, where the model is.
        read_P: indices of the tokens that are read; of the others the last block computes attention only.

    Returns:
        Hidden states [P, E].
    """
    decoder = model.get_decoder()
    hidden_TE = widen(functional.embedding(forest.ids_T, decoder.embed_tokens.weight))
    cos, sin = decoder.rotary_emb(hidden_TE[None], forest.position_T[None])
    half = cos.shape[-1] // 2  # both halves are the same
    cos, sin = (each[0, :, None, :half] for each in (cos, sin))
    shared = _Shared(ForestAttention(forest), cos, sin, product_dtype(hidden_TE))
    recompute = decoder.training and any(
        getattr(layer, "gradient_checkpointing", False) for layer in decoder.layers
    )
    for layer in decoder.layers:
        read = read_P if layer is decoder.layers[-1] else None
        if recompute and torch.is_grad_enabled():
            hidden_TE = checkpoint(_block, layer, hidden_TE, shared, read, use_reentrant=False)
        else:
            hidden_TE = _block(layer, hidden_TE, shared, read)
    return _norm(hidden_TE, decoder.norm, hidden_TE.dtype)


def _block(layer: Any, hidden_TE: Tensor, shared: _Shared, read_P: Tensor | None) -> Tensor:
    attention, mlp = layer.self_attn, layer.mlp
    normed_TE = _norm(hidden_TE, layer.input_layernorm, shared.dtype)
    attended, residual = _attend(attention, normed_TE, shared), hidden_TE
    if read_P is not None:
        attended, residual = attended[read_P], residual[read_P]
    hidden_PE = apply_linear(attended, [attention.o_proj], residual=residual)
    normed_PE = _norm(hidden_PE, layer.post_attention_layernorm, shared.dtype)
    gate_up = apply_linear(normed_PE, [mlp.gate_proj, mlp.up_proj])
    return apply_linear(_SwiGlu.apply(gate_up, shared.dtype), [mlp.down_proj], residual=hidden_PE)  # type: ignore[no-untyped-call]


def _attend(attention: Any, normed_TE: Tensor, shared: _Shared) -> Tensor:
    """Return what the heads read, beside each other [T, H * D]."""
    size = attention.head_dim
    made = apply_linear(normed_TE, [attention.q_proj, attention.k_proj, attention.v_proj])
    groups = attention.k_proj.out_features // size
    heads = attention.q_proj.out_features // size
    made = made.view(len(normed_TE), heads + 2 * groups, size)
    both, value = torch.split(made, [heads + groups, groups], 1)
    if hasattr(attention, "q_norm"):
        query, key = torch.split(both, [heads, groups], 1)
        normed = (_norm(query, attention.q_norm, query.dtype), _norm(key, attention.k_norm, key.dtype))
        both = torch.cat(normed, 1)
    turned = _Rotate.apply(both, shared.cos, shared.sin)  # type: ignore[no-untyped-call]
    query, key = torch.split(turned, [heads, groups], 1)
    output = shared.forest.attend(
        query.transpose(0, 1)[None],
        key=key.transpose(0, 1)[None],
        value=value.contiguous().transpose(0, 1)[None],  # so that nothing holds the joined product
        rule=Rule(_window(attention), scale=attention.scaling),
    )
    return output[0].transpose(0, 1).reshape(len(normed_TE), heads * size)


def _window(attention: Any) -> int | None:
    """Return how many tokens of its path a token of this layer sees; None for all."""
    holder = attention.config if "Mistral" in type(attention).__name__ else attention
    window: int | None = getattr(holder, "sliding_window", None)
    return window


def _norm(x: Tensor, norm: nn.Module, dtype: torch.dtype) -> Tensor:
    normed: Tensor = _RmsNorm.apply(x, norm.weight, norm.variance_epsilon, dtype)  # type: ignore[no-untyped-call]
    return normed


class _RmsNorm(torch.autograd.Function):
    """Root-mean-square norm over the last dimension. Source: arXiv:1910.07467 eq. 4."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        scale = x.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        grad = grads[0].to(x.dtype)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * x).mul_(scale).flatten(0, -2).sum(0).to(weight.dtype)
        grad = grad * weight
        shrink = (grad * x).mean(-1, keepdim=True).mul_(scale**3)
        return torch.addcmul(grad.mul_(scale), x, shrink, value=-1), grad_weight, None, None


class _Rotate(torch.autograd.Function):
    """Rotary positions of [T, H, D], features paired across the halves. Source: arXiv:2104.09864 eq. 34."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(grads[0], cos, -sin), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    turned = torch.empty_like(x)
    left, right = turned.chunk(2, -1)
    torch.mul(first, cos, out=left).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=right).addcmul_(first, sin)
    return turned


class _SwiGlu(torch.autograd.Function):
    """`silu(gate) * up` of [T, 2 F]. Source: arXiv:2002.05202 eq. 5."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, -1)
        return functional.silu(gate).mul_(up).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gate_up,) = ctx.saved_tensors
        grad = grads[0].to(gate_up.dtype)
        gate, up = gate_up.chunk(2, -1)
        share = torch.sigmoid(gate)
        result = torch.empty_like(gate_up)
        grad_gate, grad_up = result.chunk(2, -1)
        active = share * gate
        torch.mul(grad, active, out=grad_up)
        # The derivative of silu: share + active - active * share.
        slope = torch.addcmul(share.add_(active), active, share.sub(active), value=-1)
        torch.mul(grad, up, out=grad_gate).mul_(slope)
        return result, None
