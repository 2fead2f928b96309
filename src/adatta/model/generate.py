"""Greedy answers of many prompts at once: left padded, explicit positions, no generation config."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from adatta.model.attend import give_back
from adatta.model.prepacked import prepacked

# R rows of a batch, T tokens of the padded prompt

BATCH_ROWS = 40
ROOM = 64  # tokens that the cache grows by
FEW = 0.9  # rows that have ended leave the batch when at most this share of it goes on


def generate_greedy(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    *,
    stop_ids: Collection[int],
    limit: int,
    pad_id: int,
    is_done: Callable[[Sequence[int]], bool] = lambda answer: False,
    progress: Callable[[int], None] = lambda count: None,
) -> list[tuple[int, ...]]:
    """Continue every prompt with its most likely tokens, in batches of prompts about as long as each other.

    Args:
        model: a causal model of transformers.
        prompts: ids, at least one each.
        stop_ids: an answer ends with the first of these, which belongs to it.
        limit: most ids of an answer.
        pad_id: fills the left side of shorter prompts; never attended to.
        is_done: asked after each id whether the answer so far is one, without a stop id.
        progress: called with the number of answers that a batch added.

    Returns:
        One answer a prompt, in order, without the prompt.
    """

    def is_ended(answer: Sequence[int]) -> bool:
        return answer[-1] in stop_ids or is_done(answer)

    answers: dict[int, tuple[int, ...]] = {}
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    was_training = model.training
    model.eval()
    give_back(model)
    with torch.inference_mode(), prepacked(model):
        for start in range(0, len(prompts), BATCH_ROWS):
            members = order[start : start + BATCH_ROWS]
            batch = [prompts[index] for index in members]
            found = _generate_batch(model, batch, is_ended, limit, pad_id)
            answers.update(zip(members, found, strict=True))
            progress(len(batch))
    model.train(was_training)
    return [answers[index] for index in range(len(prompts))]


def _generate_batch(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    is_ended: Callable[[Sequence[int]], bool],
    limit: int,
    pad_id: int,
) -> list[tuple[int, ...]]:
    """Continue one batch: what all prompts begin with is computed once; rows that have ended leave."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    go_on = partial(model, past_key_values=cache, use_cache=True, logits_to_keep=1)
    # A sliding window counts places, and the padding between prefix and rest would take some.
    shared = 0 if any(cache.is_sliding) else _shared_length(prompts)
    if shared:
        prefix_1T = torch.tensor([prompts[0][:shared]], device=model.device)
        go_on(input_ids=prefix_1T)
        cache.batch_repeat_interleave(len(prompts))
    rests = [prompt[shared:] for prompt in prompts]
    ids_RT, mask_RT, position_RT = _left_pad(rests, shared=shared, pad_id=pad_id, device=model.device)
    answers: list[list[int]] = [[] for _ in prompts]
    open_rows, ended = list(range(len(prompts))), set[int]()
    for _ in range(limit):
        output = go_on(input_ids=ids_RT, attention_mask=mask_RT, position_ids=position_RT)
        next_R = output.logits[:, -1].argmax(-1)
        written = [pair for pair in zip(open_rows, next_R.tolist(), strict=True) if pair[0] not in ended]
        for row, token in written:
            answers[row].append(token)
        ended |= {row for row, _ in written if is_ended(answers[row])}
        going = [place for place, row in enumerate(open_rows) if row not in ended]
        if not going:
            break
        ids_RT, position_RT = next_R[:, None], position_RT[:, -1:] + 1
        if len(going) <= FEW * len(open_rows):
            keep = torch.tensor(going, device=model.device)
            cache.batch_select_indices(keep)
            ids_RT, mask_RT, position_RT = ids_RT[keep], mask_RT[keep], position_RT[keep]
            open_rows = [open_rows[place] for place in going]
        mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(open_rows), 1)], dim=1)
    return [tuple(answer) for answer in answers]


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values with room behind them: a token is written without copying all that stand before it."""

    keys: Tensor
    values: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rooms: dict[str, Tensor] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append states [R, G, T, D], and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._append("keys", self.keys, key_states)
        self.values = self._append("values", self.values, value_states)
        return self.keys, self.values

    def _append(self, name: str, kept: Tensor, new: Tensor) -> Tensor:
        start = kept.shape[-2] if kept.numel() else 0
        end, room = start + new.shape[-2], self._rooms.get(name)
        if room is None or room.data_ptr() != kept.data_ptr() or end > room.shape[-2]:
            room = self._rooms[name] = new.new_empty(*new.shape[:-2], end + ROOM, new.shape[-1])
            if start:
                room[..., :start, :] = kept
        room[..., start:end, :] = new
        return room[..., :end, :]


def _shared_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """Count the ids that all prompts begin with, leaving each at least one of its own."""
    if len(prompts) == 1:
        return 0
    most = min(map(len, prompts)) - 1
    return next((at for at in range(most) if len({prompt[at] for prompt in prompts}) > 1), most)


def _left_pad(
    prompts: Sequence[tuple[int, ...]], *, shared: int, pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad what follows `shared` ids that are in the cache.

    Returns:
        Ids and positions [rows, longest prompt], and the mask of shared ids and prompts.
    """
    longest = max(map(len, prompts))
    gaps = [longest - len(prompt) for prompt in prompts]
    ids_RT = torch.tensor([[pad_id] * gap + list(ids) for gap, ids in zip(gaps, prompts, strict=True)])
    mask_RT = torch.tensor([[1] * shared + [0] * gap + [1] * (longest - gap) for gap in gaps])
    position_RT = (mask_RT.cumsum(1) - 1).clamp(min=0)[:, shared:]
    return ids_RT.to(device), mask_RT.to(device), position_RT.to(device)
