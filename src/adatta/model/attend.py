"""Forests in transformers' attention interface: whose attention a model takes, and what computes it where."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from adatta.core.errors import ModelError
from adatta.model.attention.branches import Branches, Rule
from adatta.model.attention.flex import MIN_HEAD_DIM, Flex
from adatta.model.attention.varlen import DTYPES, MAX_HEAD_DIM, Varlen, is_flat
from adatta.model.forest import Forest, drop_unread
from adatta.model.linear import widen

# T tokens, H heads, G heads of keys and values, D features of a head

NAME = "adatta_forest"
_BEFORE = "attention_before_adatta"


Backend = type[Branches] | type[Flex] | type[Varlen]


def choose_backend(query: Tensor, *, is_flat: bool, softcap: float | None) -> Backend:
    """Return what computes attention: the one place where that is decided.

    Args:
        query: [1, H, T, D], as it will be given.
        is_flat: whether no two rows share a token.
        softcap: of the products, if any.
    """
    if not query.is_cuda or query.dtype == torch.float64 or query.shape[-1] < MIN_HEAD_DIM:
        return Branches
    if is_flat and softcap is None and query.dtype in DTYPES and query.shape[-1] <= MAX_HEAD_DIM:
        return Varlen
    return Flex


class ForestAttention:
    """The attention of one forest; made once a forward, shared by all its layers.

    One of these travels as the keyword argument `forest` through the model's forward, so that nothing is
    kept in the model or in this module: a layer that is computed again for its gradient finds its own.
    """

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self._is_flat = is_flat(forest)
        self._made: dict[Backend, Branches | Flex | Varlen] = {}

    def attend(self, query: Tensor, *, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """Return what each token gets from the tokens before it on its path [1, H, T, D].

        Args:
            query: [1, H, T, D].
            key: [1, G, T, D].
            value: [1, G, T, D].
            rule: of the layer.
        """
        if query.device.type == "cpu":  # in bf16 its backward pass is slower there, and less exact
            query, key, value = (widen(states) for states in (query, key, value))
        backend = choose_backend(query, is_flat=self._is_flat, softcap=rule.softcap)
        if backend not in self._made:
            self._made[backend] = backend(self._forest)
        with torch.autocast(query.device.type, enabled=False):
            return self._made[backend].attend(query, key=key, value=value, rule=rule)


def take_over(model: Any) -> None:
    """Let a model's attention know forests; `give_back` undoes it.

    Args:
        model: a causal LM of transformers.

    Raises:
        ModelError: if its code doesn't let attention be replaced.
    """
    before = model.config._attn_implementation
    if before == NAME:
        return
    takes = inspect.signature(model.get_decoder().forward).parameters.values()
    if model._can_set_attn_implementation() and any(each.kind is each.VAR_KEYWORD for each in takes):
        model.set_attn_implementation(NAME)
        setattr(model, _BEFORE, before)
        return
    raise ModelError(
        f"{type(model).__name__} doesn't let its attention be replaced, which forests need; use engine: plain"
    )


def select_computed(config: Any, forest: Forest) -> tuple[Forest, Tensor]:
    """Return what of a forest must be computed, and its tokens' indices in the forest [T].

    Rotary positions of some models (`longrope`, `dynamic`) depend on the longest row in sight, as soon as
    that is longer than rows of the pretraining were. Their forests stay whole.

    Args:
        config: of transformers.
        forest: the rows.

    Raises:
        ModelError: if a row's positions would change because a longer one stands in its forest.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    is_whole = not len(forest.scored_S)
    for part in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if part.get("rope_type") not in ("longrope", "dynamic"):
            continue
        is_whole = True
        border = part.get("original_max_position_embeddings") or config.max_position_embeddings
        longest = int(forest.position_T.max()) + 1
        ends_S = torch.diff(forest.row_S, append=forest.row_S.new_tensor([-1])) != 0
        lengths = (forest.position_T[forest.scored_S[ends_S]] + 1).tolist()
        allowed = border if part["rope_type"] == "longrope" else longest - 1
        if longest > border and lengths and min(lengths) <= allowed:
            raise ModelError(
                f"positions of this model ({part['rope_type']}) are others in rows of more than {border} "
                f"tokens, and rows of {min(lengths)} and {longest} are computed together; set context: "
                f"{border}, or engine: plain"
            )
    index_T = torch.arange(forest.num_tokens, device=forest.ids_T.device)
    return (forest, index_T) if is_whole else drop_unread(forest)


def give_back(model: Any) -> None:
    """Let a model attend as it did before it scored forests; not before their backward passes are done.

    Args:
        model: a causal LM of transformers, or a PEFT model around one.
    """
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    if causal_lm.config._attn_implementation == NAME:
        causal_lm.set_attn_implementation(getattr(causal_lm, _BEFORE))


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    forest: ForestAttention | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend along the paths of a forest; without a forest this is transformers' `sdpa`, unchanged.

    Args:
        module: the attention layer.
        query: [1, H, T, D].
        key: [1, G, T, D].
        value: [1, G, T, D].
        attention_mask: used without a forest only.
        forest: who sees whom.
        **kwargs: `scaling`, `sliding_window` and `softcap` are used; dropout of attention isn't.

    Returns:
        The output [1, T, H, D] and None.
    """
    if forest is None:
        output: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return output
    rule = Rule(kwargs.get("sliding_window"), scale=kwargs.get("scaling"), softcap=kwargs.get("softcap"))
    return forest.attend(query, key=key, value=value, rule=rule).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
