"""Attention over a forest on any device, in as few calls as are worth their masks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from adatta.model.forest import Forest, subtree_ends
from adatta.model.linear import widen

# T tokens, H heads, G heads of keys and values, D features of a head, Q tokens of a block, K of its path

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
class _Block:
    """Consecutive tokens computed in one call: a chain, or whole subtrees beside each other.

    `path` names the blocks that its tokens see: chains, seen by all of them, and at last itself.
    """

    start: int
    end: int
    path: tuple[int, ...]
    is_chain: bool


class Branches:
    """How the tokens of one forest see each other; made once a forward, shared by all its layers."""

    def __init__(self, forest: Forest) -> None:
        parent_T = forest.parent_T.cpu()
        self._end_T, self._depth_T = subtree_ends(parent_T), forest.position_T.cpu()
        self._blocks = _cut(parent_T.tolist())
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
        groups, repeats = key.shape[1], query.shape[1] // key.shape[1]
        query = query.view(groups, repeats, *query.shape[2:])  # heads of a group read its keys, none copied
        key, value = key[0, :, None], value[0, :, None]
        lengths = [block.end - block.start for block in self._blocks]
        queries, keys, values = (torch.split(states, lengths, dim=2) for states in (query, key, value))
        outputs = []
        for number, block in enumerate(self._blocks):
            path = block.path
            block_key, block_value = (
                parts[number] if len(path) == 1 else torch.cat([parts[each] for each in path], dim=2)
                for parts in (keys, values)
            )
            mask = self._mask(number, rule.window, query)
            block_key, block_value = (each.expand(-1, repeats, -1, -1) for each in (block_key, block_value))
            outputs.append(_attend(queries[number], block_key, block_value, mask=mask, rule=rule))
        return torch.cat(outputs, dim=2).flatten(0, 1)[None]

    def _mask(self, number: int, window: int | None, like: Tensor) -> Tensor | None:
        """Return the mask of a block [Q, K]; None for a plain triangle."""
        found = (number, window, like.dtype)
        if found not in self._masks:
            seen = self._seen(self._blocks[number], window)
            if seen is not None:
                blank = torch.zeros(seen.shape, dtype=like.dtype, device=seen.device)
                seen = blank.masked_fill_(~seen, -torch.inf).to(like.device)
            self._masks[found] = seen
        return self._masks[found]

    def _seen(self, block: _Block, window: int | None) -> Tensor | None:
        if len(block.path) == 1 and block.is_chain and (window is None or window >= block.end - block.start):
            return None
        path = [self._blocks[each] for each in block.path]
        token_K = torch.cat([torch.arange(each.start, each.end) for each in path])
        token_Q1 = torch.arange(block.start, block.end)[:, None]
        seen_QK = (token_K <= token_Q1) & (token_Q1 < self._end_T[token_K])
        if window is None:
            return seen_QK
        return seen_QK & (self._depth_T[token_Q1] - self._depth_T[token_K] < window)


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


@dataclass(slots=True)
class _Chain:
    """A run of tokens without branching point, and the calls that compute what is below it."""

    start: int
    end: int
    above: int  # tokens of the path before it
    children: list[_Chain] = field(default_factory=list)
    below: list[_Call] = field(default_factory=list)


class _Call(NamedTuple):
    """Tokens computed at once, and what that and all below them costs in pairs of tokens.

    They are a `chain`, or whole subtrees beside each other (None).
    """

    start: int
    stop: int
    cost: int
    chain: _Chain | None


def _cut(parents: list[int]) -> list[_Block]:
    """Cut a forest into blocks, joining subtrees where that costs less than one more call."""
    root, *chains = _chains(parents)
    for chain in reversed([root, *chains]):
        chain.below = _plan_calls(chain)
    blocks: list[_Block] = []
    waiting: list[tuple[_Call, tuple[int, ...]]] = [(call, ()) for call in reversed(root.below)]
    while waiting:
        call, path = waiting.pop()
        path = (*path, len(blocks))
        if call.chain is None:
            blocks.append(_Block(call.start, call.stop, path, is_chain=False))
        else:
            blocks.append(_Block(call.chain.start, call.chain.end, path, is_chain=True))
            waiting += [(below, path) for below in reversed(call.chain.below)]
    return blocks


def _plan_calls(parent: _Chain) -> list[_Call]:
    """Return the calls that compute a chain's children and all below these, whose own calls are planned."""
    calls: list[_Call] = []
    above = parent.above + parent.end - parent.start
    for child in parent.children:
        length = child.end - child.start
        stop = child.below[-1].stop if child.below else child.end
        cost = _CALL_PAIRS + length * (above + length) + sum(call.cost for call in child.below)
        calls.append(_Call(child.start, stop, cost, child))
        for count in (1, 2):  # the child's whole subtree in one call, then that and the call before it
            apart = calls[-count:]
            tokens = stop - apart[0].start
            cost = _CALL_PAIRS + tokens * (above + tokens)
            if cost < sum(call.cost for call in apart):
                calls[-count:] = [_Call(apart[0].start, stop, cost, None)]
    return calls


def _chains(parents: list[int]) -> list[_Chain]:
    """Cut a forest at its roots and after every token with other than one child; first comes an empty one."""
    children = Counter(parents)
    starts = [
        token
        for token, parent in enumerate(parents)
        if parent != token - 1 or parent < 0 or children[parent] > 1
    ]
    by_end = {-1: _Chain(0, 0, 0)}  # by their last token; nothing stands before a root
    for start, end in zip(starts, [*starts[1:], len(parents)], strict=True):
        parent = by_end[parents[start]]
        by_end[end - 1] = _Chain(start, end, parent.above + parent.end - parent.start)
        parent.children.append(by_end[end - 1])
    return list(by_end.values())
