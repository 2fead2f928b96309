"""Log-probs of chosen tokens from hidden states, without ever holding the logits of all positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

# P positions that are read, N (position, token) pairs, E features, V vocabulary

CHUNK_BYTES = 64 << 20  # logits held at once; larger chunks are not faster


class LogitMap(NamedTuple):
    """What a model makes of its products z for the softmax: `scale * z`, or `cap * tanh(scale * z / cap)`."""

    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: Any) -> LogitMap:
        """Return the one of a configuration of transformers."""
        divisor, scale = getattr(config, "logits_scaling", None), getattr(config, "logit_scale", None)
        if divisor is not None:  # of Granite
            scale = 1 / divisor
        softcap = getattr(config, "final_logit_softcapping", None)  # of the Gemmas
        return cls(scale=1.0 if scale is None else scale, softcap=softcap)

    def apply_(self, logits_CV: Tensor) -> Tensor:
        """Change products [C, V] of hidden states and output matrix to the model's logits, in place."""
        if self.scale != 1:
            logits_CV.mul_(self.scale)
        if self.softcap is not None:
            logits_CV.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits_CV

    def slope(self, logits: Tensor) -> Tensor | float:
        """Return the derivative of logits [any shape] by the products that they were made from."""
        return self.scale if self.softcap is None else self.scale * (1 - (logits / self.softcap).square())


def _scale_(values: Tensor, factor: Tensor | float) -> Tensor:
    return values if isinstance(factor, float) and factor == 1 else values.mul_(factor)


class TokenLogProbs(torch.autograd.Function):
    """`log_softmax` of the logits at chosen (position, token) pairs, in chunks of positions.

    With g the gradient of the log-probs, G its sum over the pairs of a position and s the slope of the
    logits, the gradient of a position's hidden state is
    `sum g * s[token] * weight[token] - G * ((softmax * s) @ weight)`. The second product is made in the
    forward pass, while the chunk's softmax is there: the backward pass needs no logits. Only a trainable
    weight has them computed again.

    Source: own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_PE: Tensor,
        weight_VE: Tensor,
        position_N: Tensor,
        token_N: Tensor,
        logit_map: LogitMap,
    ) -> tuple[Tensor, Tensor]:
        """Return the log-probs [N] (fp32, float64 for float64 weights) and whether no logit is larger [N].

        Args:
            ctx: autograd's context.
            hidden_PE: hidden states [P, E]; narrowed to the weights' dtype for their products.
            weight_VE: the output matrix [V, E].
            position_N: index into the positions [N], ascending.
            token_N: token ids [N].
            logit_map: from products to logits. Of narrow weights, all but the chosen ones are rounded.
        """
        dtype = torch.promote_types(weight_VE.dtype, torch.float32)
        target_N = torch.empty(len(token_N), dtype=dtype, device=hidden_PE.device)
        total_P = torch.empty(len(hidden_PE), dtype=dtype, device=hidden_PE.device)
        is_best_N = torch.empty(len(token_N), dtype=torch.bool, device=hidden_PE.device)
        mean_PE = torch.empty_like(hidden_PE) if ctx.needs_input_grad[0] else None
        for rows, pairs in _chunks(hidden_PE, weight_VE, position_N):
            pair = (position_N[pairs] - rows.start, token_N[pairs])
            logits_CV = logit_map.apply_(_multiply(hidden_PE[rows], weight_VE, pair))
            target_N[pairs] = logits_CV[pair]
            slope = logit_map.slope(logits_CV)
            peak_C = logits_CV.amax(-1)
            is_best_N[pairs] = target_N[pairs] == peak_C[pair[0]]
            sum_C = logits_CV.sub_(peak_C[:, None]).exp_().sum(-1)
            total_P[rows] = peak_C + sum_C.log()
            if mean_PE is not None:
                product_CE = _scale_(logits_CV, slope).to(weight_VE.dtype) @ weight_VE
                mean_PE[rows] = (product_CE / sum_C[:, None]).to(mean_PE.dtype)
        capped_N = target_N if logit_map.softcap is not None else target_N[:0]
        ctx.save_for_backward(hidden_PE, weight_VE, position_N, token_N, total_P, mean_PE, capped_N)
        ctx.logit_map = logit_map
        ctx.mark_non_differentiable(is_best_N)
        return target_N - total_P[position_N], is_best_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden states and, where it is trained, of the output matrix.

        Args:
            ctx: autograd's context.
            *grads: of the log-probs [N]; the second output has none.
        """
        hidden_PE, weight_VE, position_N, token_N, total_P, mean_PE, capped_N = ctx.saved_tensors
        grad_P = torch.zeros_like(total_P).index_add_(0, position_N, grads[0])
        grad_N = grads[0] * ctx.logit_map.slope(capped_N)
        grad_hidden_PE = grad_weight_VE = None
        if ctx.needs_input_grad[0]:
            picked_NE = (grad_N[:, None] * weight_VE[token_N]).to(hidden_PE.dtype)
            grad_hidden_PE = (-grad_P[:, None] * mean_PE).to(hidden_PE.dtype)
            grad_hidden_PE.index_add_(0, position_N, picked_NE)
        if ctx.needs_input_grad[1]:
            grad_weight_VE = torch.zeros_like(weight_VE)
            for rows, pairs in _chunks(hidden_PE, weight_VE, position_N):
                pair = (position_N[pairs] - rows.start, token_N[pairs])
                logits_CV = ctx.logit_map.apply_(_multiply(hidden_PE[rows], weight_VE, pair))
                slope = ctx.logit_map.slope(logits_CV)
                softmax_CV = logits_CV.sub_(total_P[rows, None]).exp_()
                _scale_(softmax_CV, slope).mul_(-grad_P[rows, None])
                narrow_CE = hidden_PE[rows].to(weight_VE.dtype)
                grad_weight_VE.addmm_(softmax_CV.to(weight_VE.dtype).T, narrow_CE)
            pulled_NE = (grad_N[:, None] * hidden_PE[position_N]).to(weight_VE.dtype)
            grad_weight_VE.index_add_(0, token_N, pulled_NE)
        return grad_hidden_PE, grad_weight_VE, None, None, None


def _multiply(hidden_CE: Tensor, weight_VE: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """Return the products [C, V] with the output matrix, in fp32 (float64 for float64 weights).

    Those of the (position, token) pairs aren't rounded where the weights are narrow: a bf16 logit of 8 to 16
    is off by up to 0.03.
    """
    wide = torch.promote_types(weight_VE.dtype, torch.float32)
    logits_CV = (hidden_CE.to(weight_VE.dtype) @ weight_VE.T).to(wide)
    if weight_VE.dtype != wide:
        logits_CV[pair] = (hidden_CE[pair[0]] * weight_VE[pair[1]]).sum(-1).to(wide)
    return logits_CV


def _chunks(hidden_PE: Tensor, weight_VE: Tensor, position_N: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield slices of positions and of the pairs that stand at them."""
    item_bytes = max(4, weight_VE.element_size())
    size = max(1, CHUNK_BYTES // (weight_VE.shape[0] * item_bytes))
    starts = torch.arange(0, len(hidden_PE) + size, size, device=position_N.device)
    borders = torch.searchsorted(position_N, starts).tolist()
    for number, start in enumerate(range(0, len(hidden_PE), size)):
        end = min(start + size, len(hidden_PE))
        yield slice(start, end), slice(borders[number], borders[number + 1])
