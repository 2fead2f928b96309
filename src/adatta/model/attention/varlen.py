"""Attention over rows that share nothing, on CUDA: torch's flash attention for rows of unequal lengths."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import pad

from adatta.model.attention.branches import Rule
from adatta.model.forest import Forest

# T tokens, H heads, G heads of keys and values, D features of a head

DTYPES = (torch.bfloat16, torch.float16)  # of the kernels
MAX_HEAD_DIM = 256


def is_flat(forest: Forest) -> bool:
    """Return whether a forest is rows one behind the other, without a branching point."""
    index_T = torch.arange(forest.num_tokens, device=forest.parent_T.device)
    return bool(((forest.parent_T < 0) | (forest.parent_T == index_T - 1)).all())


class Varlen:
    """Where each row of a flat forest begins and ends."""

    def __init__(self, forest: Forest) -> None:
        roots = (forest.parent_T < 0).nonzero().flatten()
        self.borders = pad(roots, (0, 1), value=forest.num_tokens).to(torch.int32)
        self.longest = int(self.borders.diff().max())

    def attend(self, query: Tensor, *, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """Return what each token gets from the tokens before it in its row, as `Branches.attend` says.

        Args:
            query: [1, H, T, D].
            key: [1, G, T, D].
            value: [1, G, T, D].
            rule: of the layer; without softcap, which the kernels don't have.

        Returns:
            The output [1, H, T, D].
        """
        before = -1 if rule.window is None else rule.window - 1  # theirs doesn't count the token itself
        output: Any = varlen_attn(
            query[0].transpose(0, 1).contiguous(),
            key[0].transpose(0, 1).contiguous(),
            value[0].transpose(0, 1).contiguous(),
            self.borders,
            self.borders,
            self.longest,
            self.longest,
            scale=rule.scale,
            window_size=(before, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        attended: Tensor = output.transpose(0, 1)[None]
        return attended
