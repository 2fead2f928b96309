"""Attention over a forest with a dense mask, registered in transformers' attention interface."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from adatta.model.forest import Forest

# T tokens, H heads, G heads of keys and values, D features of a head

NAME = "adatta_dense"


class DenseMasks:
    """The masks of one forest, made when first asked for and then shared by all layers of a forward.

    One of these travels as the keyword argument `forest` through the model's forward, so that nothing is
    kept in the model or in this module: a layer that is computed again for its gradient finds its own.
    """

    def __init__(self, forest: Forest) -> None:
        self._position_T = forest.position_T
        self._parent_T = forest.parent_T
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return the additive mask: 0 where a token may look, -inf elsewhere.

        Args:
            window: how many tokens of its path a token sees, itself among them; None for all.
            dtype: of the attention's inputs.

        Returns:
            The mask [1, 1, T, T].
        """
        if (window, dtype) not in self._masks:
            seen_TT = ancestors(self._parent_T)
            if window is not None:
                seen_TT &= self._position_T[:, None] - self._position_T[None, :] < window
            mask_TT = torch.zeros(seen_TT.shape, dtype=dtype, device=seen_TT.device)
            self._masks[window, dtype] = mask_TT.masked_fill_(~seen_TT, -torch.inf)[None, None]
        return self._masks[window, dtype]


def ancestors(parent_T: Tensor) -> Tensor:
    """Return whether the column's token is the row's token or before it on its path.

    Args:
        parent_T: parents [T], each before its children, every subtree contiguous.

    Returns:
        Booleans [T, T].
    """
    num_tokens = len(parent_T)
    end = list(range(1, num_tokens + 1))
    for child, parent in reversed(list(enumerate(parent_T.tolist()))):
        if parent >= 0:
            end[parent] = max(end[parent], end[child])
    index_T = torch.arange(num_tokens, device=parent_T.device)
    end_T = torch.tensor(end, device=parent_T.device)
    return (index_T[None, :] <= index_T[:, None]) & (index_T[:, None] < end_T[None, :])


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    forest: DenseMasks | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend along the paths of a forest; without a forest this is transformers' `sdpa`, unchanged.

    Args:
        module: the attention layer.
        query: [1, H, T, D].
        key: [1, G, T, D].
        value: [1, G, T, D].
        attention_mask: used without a forest only.
        forest: the masks.
        **kwargs: `scaling` and `sliding_window` are used; dropout of attention isn't.

    Returns:
        The output [1, T, H, D] and None.
    """
    if forest is None:
        output: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return output
    mask = forest.mask(kwargs.get("sliding_window"), query.dtype)
    repeats = query.shape[1] // key.shape[1]
    attended = functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(repeats, dim=1),
        value.repeat_interleave(repeats, dim=1),
        attn_mask=mask,
        scale=kwargs.get("scaling"),
    )
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
