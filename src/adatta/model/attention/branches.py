"""Attention over a forest on any device, branch by branch or under one mask."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from adatta.model.forest import Forest, subtree_ends
from adatta.model.linear import widen

# T tokens, H heads, G heads of keys and values, D features of a head, Q tokens of a chain, K of its path

_CALL_PAIRS = 4096  # pairs of tokens that cost as much as one more call of the attention


class Rule(NamedTuple):
    """How a layer reads a path: `window` tokens of it, the reading one among them (None: all).

    Products of queries and keys are multiplied by `scale` (None: the usual one) and come near to `softcap` at
    most (None: no limit).
    """

    window: int | None = None
    scale: float | None = None
    softcap: float | None = None


@dataclass(frozen=True, slots=True)
class _Chain:
    """A run of tokens without a branching point, its path (chains, itself the last) and the path's tokens."""

    length: int
    path: tuple[int, ...]
    path_tokens: int


class Branches:
    """How the tokens of one forest see each other; made once a forward, shared by all its layers."""

    def __init__(self, forest: Forest) -> None:
        self._parent_T = forest.parent_T
        self._position_T = forest.position_T
        self._chains = _chains(forest.parent_T.tolist())
        by_chain = sum(_CALL_PAIRS + chain.length * chain.path_tokens for chain in self._chains)
        self._one_mask = by_chain > len(forest.parent_T) ** 2
        self._masks: dict[tuple[int, int | None, torch.dtype], Tensor | None] = {}

    def attend(self, query: Tensor, *, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """Return what each token gets from the tokens before it on its path.

        Args:
            query: [1, H, T, D].
            key: [1, G, T, D].
            value: [1, G, T, D].
            rule: of the layer.

        Returns:
            The output [1, H, T, D].
        """
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        if self._one_mask:
            return _attend(query, key, value, mask=self._mask(-1, rule.window, query), rule=rule)
        lengths = [chain.length for chain in self._chains]
        queries, keys, values = (torch.split(states, lengths, dim=2) for states in (query, key, value))
        outputs = []
        for number, chain in enumerate(self._chains):
            path = chain.path
            chain_key, chain_value = (
                parts[number] if len(path) == 1 else torch.cat([parts[each] for each in path], dim=2)
                for parts in (keys, values)
            )
            mask = self._mask(number, rule.window, query)
            outputs.append(_attend(queries[number], chain_key, chain_value, mask=mask, rule=rule))
        return torch.cat(outputs, dim=2)

    def _mask(self, number: int, window: int | None, like: Tensor) -> Tensor | None:
        """Return the mask of a chain [Q, K] or of the whole forest (-1) [T, T]; None for a plain triangle."""
        found = (number, window, like.dtype)
        if found not in self._masks:
            seen = self._seen(number, window)
            if seen is not None:
                blank = torch.zeros(seen.shape, dtype=like.dtype, device=seen.device)
                seen = blank.masked_fill_(~seen, -torch.inf).to(like.device)
            self._masks[found] = seen
        return self._masks[found]

    def _seen(self, number: int, window: int | None) -> Tensor | None:
        if number < 0:
            seen_TT = ancestors(self._parent_T)
            depth_T = self._position_T
            return seen_TT if window is None else seen_TT & (depth_T[:, None] - depth_T < window)
        chain = self._chains[number]
        if len(chain.path) == 1 and (window is None or window >= chain.length):
            return None
        depth_K = torch.arange(chain.path_tokens)
        distance_QK = depth_K[-chain.length :, None] - depth_K
        return (distance_QK >= 0) & (distance_QK < (window or chain.path_tokens))


def ancestors(parent_T: Tensor) -> Tensor:
    """Return whether the column's token is the row's token or before it on its path.

    Args:
        parent_T: parents [T], each before its children, every subtree contiguous.

    Returns:
        Booleans [T, T].
    """
    index_T = torch.arange(len(parent_T), device=parent_T.device)
    end_T = subtree_ends(parent_T)
    return (index_T[None, :] <= index_T[:, None]) & (index_T[:, None] < end_T[None, :])


def _attend(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, rule: Rule) -> Tensor:
    _, scale, softcap = rule
    if softcap is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    products = widen(query @ key.transpose(2, 3)) * scale
    capped = softcap * torch.tanh(products / softcap)
    if mask is None:
        sees = torch.ones(capped.shape[2:], dtype=torch.bool, device=capped.device).tril()
        capped = capped.masked_fill(~sees, -torch.inf)
    else:
        capped = capped + mask
    return capped.softmax(-1).to(value.dtype) @ value


def _chains(parents: list[int]) -> list[_Chain]:
    """Cut a forest at its roots and after every token with other than one child."""
    children = Counter(parents)
    starts = [
        token
        for token, parent in enumerate(parents)
        if parent != token - 1 or parent < 0 or children[parent] > 1
    ]
    by_end = {-1: _Chain(0, (), 0)}  # by their last token; nothing stands before a root
    for start, end in zip(starts, [*starts[1:], len(parents)], strict=True):
        above, length = by_end[parents[start]], end - start
        path = (*above.path, len(by_end) - 1)
        by_end[end - 1] = _Chain(length, path, above.path_tokens + length)
    return list(by_end.values())[1:]
