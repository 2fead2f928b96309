"""Linear layers of one input as one product, their low-rank updates added in fp32, with gradients by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MethodType
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

# T tokens, I inputs, O outputs of all layers together, R ranks of all their updates together


def apply_linear(x: Tensor, modules: Sequence[nn.Module], *, residual: Tensor | None = None) -> Tensor:
    """Return what layers make of one input, beside each other: `x W' + b + scale (x A') B'`.

    The product runs in the weights' dtype, or in autocast's; update, bias and residual are added in fp32
    (float64 for float64 weights): added in bf16, a small update would be rounded away.

    Args:
        x: inputs [T, I], or with more dimensions before the last.
        modules: linear layers of I inputs, plain or 4-bit, with or without PEFT's adapter around them.
        residual: added to the result [T, O].

    Returns:
        Outputs [T, O], fp32 or float64.
    """
    layers = [_read_layer(module) for module in modules]
    tensors = [tensor for layer, _ in layers for tensor in layer]
    scales = tuple(scale for _, scale in layers)
    output: Tensor = _Products.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]), residual, scales, *tensors
    )
    return output if x.dim() == 2 else output.view(*x.shape[:-1], -1)


def add_updates_wide(model: nn.Module) -> None:
    """Let PEFT's plain low-rank layers compute as `apply_linear` does; others stay as they are.

    Args:
        model: a PEFT model.
    """
    for layer in _plain_updates(model):
        layer.forward = MethodType(_forward, layer)


def add_updates_as_peft(model: nn.Module) -> None:
    """Undo `add_updates_wide`.

    Args:
        model: a PEFT model.
    """
    for layer in _plain_updates(model):
        layer.__dict__.pop("forward", None)


def is_plain(module: nn.Module) -> bool:
    """Say whether `apply_linear` can do all that a layer does: no dropout, no variant of LoRA."""
    base = getattr(module, "base_layer", module)
    if not isinstance(base, nn.Linear):
        return False
    if not isinstance(module, LoraLayer):
        return module is base
    dropouts = module.lora_dropout.values()
    return not module.lora_variant and all(isinstance(each, nn.Identity) for each in dropouts)


def join(parameters: Sequence[Tensor]) -> Tensor:
    """Return matrices below each other as one, without a copy: their memory becomes one on first use.

    Args:
        parameters: matrices of equal width; they keep their values and shapes.

    Returns:
        The joined matrix, without gradient.
    """
    first = parameters[0].detach()
    if len(parameters) == 1:
        return first
    rows, width = sum(len(each) for each in parameters), first.shape[1]
    place = first.data_ptr()
    for each in parameters:
        same = each.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (same and each.data_ptr() == place and each.is_contiguous()):
            break
        place += each.nbytes
    else:
        return first.as_strided((rows, width), (width, 1))
    joined = torch.cat([each.detach() for each in parameters])
    for each, part in zip(parameters, torch.split(joined, [len(each) for each in parameters]), strict=True):
        each.data = part
    return joined


class _Products(torch.autograd.Function):
    """The joined product with its updates; what is frozen gets no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        residual_TO: Tensor | None,
        scales: tuple[float, ...],
        *tensors: Tensor | None,
    ) -> Tensor:
        weights, biases, downs, ups = (tensors[kind::4] for kind in range(4))
        weight_OI = _dense(weights)
        narrow = product_dtype(weight_OI)
        wide = torch.promote_types(narrow, torch.float32)
        with torch.autocast(x_TI.device.type, enabled=False):
            weight_OI = weight_OI.to(narrow)
            x_TI = x_TI.to(narrow)
            if residual_TO is not None and narrow == wide:
                output_TO = torch.addmm(residual_TO, x_TI, weight_OI.T)
            else:
                output_TO = (x_TI @ weight_OI.T).to(wide)
                if residual_TO is not None:
                    output_TO += residual_TO
            adapted = [down for down in downs if down is not None]
            down_RI = join(adapted).to(narrow) if adapted else None
            inner_TR = x_TI @ down_RI.T if down_RI is not None else None
            for bias, (columns, ranks, up, scale) in zip(biases, _parts(weights, ups, scales), strict=True):
                part = output_TO[:, columns]
                if bias is not None:
                    part += bias
                if up is not None and inner_TR is not None:
                    part.addmm_(inner_TR[:, ranks].to(wide), up.to(wide).T, alpha=scale)
        # Weights stay out of what is saved: 4-bit ones must not be kept dequantised.
        ctx.save_for_backward(x_TI, down_RI, inner_TR, *ups)
        ctx.weights, ctx.scales, ctx.has_residual = weights, scales, residual_TO is not None
        return output_TO

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x_TI, down_RI, inner_TR, *ups = ctx.saved_tensors
        weight_OI = _dense(ctx.weights).to(x_TI.dtype)
        (grad_TO,) = grads
        need = ctx.needs_input_grad
        narrow_TO = grad_TO.to(weight_OI.dtype)
        grad_x_TI = narrow_TO @ weight_OI if need[0] else None
        grad_inner_TR = torch.empty_like(inner_TR) if inner_TR is not None else None
        found: list[Tensor | None] = []
        for number, (columns, ranks, up, scale) in enumerate(_parts(ctx.weights, ups, ctx.scales)):
            part = narrow_TO[:, columns]
            needs = need[3 + 4 * number : 7 + 4 * number]
            found.append((part.T @ x_TI).to(ctx.weights[number].dtype) if needs[0] else None)
            found.append(grad_TO[:, columns].sum(0) if needs[1] else None)
            if up is None or grad_inner_TR is None:
                found += [None, None]
                continue
            grad_inner_TR[:, ranks] = (part @ up.to(part.dtype)).mul_(scale)
            found.append((grad_inner_TR[:, ranks].T @ x_TI).to(up.dtype) if needs[2] else None)
            found.append((part.T @ inner_TR[:, ranks]).to(up.dtype).mul_(scale) if needs[3] else None)
        if grad_x_TI is not None and grad_inner_TR is not None:
            grad_x_TI.addmm_(grad_inner_TR, down_RI)
        return grad_x_TI, grad_TO if ctx.has_residual else None, None, *found


def _parts(
    weights: Sequence[Any], ups: Sequence[Tensor | None], scales: Sequence[float]
) -> Iterable[tuple[slice, slice, Tensor | None, float]]:
    """Yield each layer's columns of the output, its ranks, the update's second factor and scale."""
    column = rank = 0
    for weight, up, scale in zip(weights, ups, scales, strict=True):
        state = getattr(weight, "quant_state", None)  # of a 4-bit weight, which is stored flat
        outputs = (weight if state is None else state).shape[0]
        ranks = up.shape[1] if up is not None else 0
        yield slice(column, column + outputs), slice(rank, rank + ranks), up, scale
        column += outputs
        rank += ranks


def widen(states: Tensor) -> Tensor:
    """Return numbers [any shape] in fp32; float64 ones as they are."""
    return states.to(torch.promote_types(states.dtype, torch.float32))


def product_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype in which products run: autocast's where that is on, else that of a tensor."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def _dense(weights: Sequence[Any]) -> Tensor:
    """Return weights as one matrix; 4-bit ones are dequantised anew each time."""
    if getattr(weights[0], "quant_state", None) is None:
        return join(weights)
    return torch.cat([dequantize_4bit(weight.data, weight.quant_state) for weight in weights])


def _read_layer(module: Any) -> tuple[tuple[Tensor | None, ...], float]:
    """Return weight, bias and the two factors of the update (None without one), and the update's scale."""
    base = getattr(module, "base_layer", module)
    if not isinstance(module, LoraLayer) or module.disable_adapters:
        return (base.weight, base.bias, None, None), 0.0
    (name,) = module.active_adapters
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    return (base.weight, base.bias, down, up), module.scaling[name]


def _plain_updates(model: nn.Module) -> list[Any]:
    return [layer for layer in model.modules() if isinstance(layer, LoraLayer) and is_plain(layer)]


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Stand in for the forward of PEFT's layer."""
    return apply_linear(x, [layer])
