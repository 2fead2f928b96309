"""Attention over a forest on CUDA: FlexAttention, which skips the blocks that no token of a block sees."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from adatta.model.attention.branches import Rule
from adatta.model.forest import Forest, subtree_ends

# T tokens, H heads, G heads of keys and values, D features of a head

MIN_HEAD_DIM = 16  # of the kernels


class Flex:
    """How the tokens of one forest see each other, as one block mask a window."""

    def __init__(self, forest: Forest) -> None:
        self._depth_T = forest.position_T
        self._end_T = subtree_ends(forest.parent_T)
        self._masks: dict[int | None, BlockMask] = {}

    def attend(self, query: Tensor, *, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """Return what each token gets from the tokens before it on its path, as `Branches.attend` says.

        Args:
            query: [1, H, T, D].
            key: [1, G, T, D].
            value: [1, G, T, D].
            rule: of the layer.

        Returns:
            The output [1, H, T, D].
        """
        window, scale, softcap = rule
        if window not in self._masks:
            num_tokens = len(self._depth_T)
            self._masks[window] = create_block_mask(
                self._sees(window), None, None, num_tokens, num_tokens, device=query.device
            )
        compute = _compiled() if query.is_cuda else flex_attention
        output: Tensor = compute(
            query,
            key,
            value,
            score_mod=None if softcap is None else _cap(softcap),
            block_mask=self._masks[window],
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return output

    def _sees(self, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """A token stands before another on its path if it isn't later and its subtree holds the other."""
        depth_T, end_T = self._depth_T, self._end_T

        def _mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            before = (key <= query) & (query < end_T[key])
            return before if window is None else before & (depth_T[query] - depth_T[key] < window)

        return _mask_mod


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


@cache
def _cap(softcap: float) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    def _score_mod(product: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(product / softcap)

    return _score_mod
