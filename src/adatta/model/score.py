"""Log-probs of a forest's scored tokens, with their gradient, by one of three paths that agree."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from adatta.core.errors import ModelError
from adatta.model.attend import ForestAttention, give_back, select_computed, take_over
from adatta.model.blocks import decode, explain_unfused
from adatta.model.forest import Forest
from adatta.model.head import LogitMap, TokenLogProbs
from adatta.model.linear import product_dtype, widen

# T tokens, S scored ones (U of them different), P positions that are read, N (position, token) pairs,
# E features, V vocabulary

EngineName = Literal["forest", "fused", "plain"]


class Scores(NamedTuple):
    """Log-probs [S] with gradient, and whether no other token had a larger one at its place [S]."""

    logp_S: Tensor
    is_best_S: Tensor


def score(model: Any, forest: Forest, *, engine: EngineName = "forest") -> Tensor:
    """Return the log-prob of each scored token, read at the token before it on its path.

    Args:
        model: a causal LM of transformers, or a PEFT model around one.
        forest: the rows.
        engine: `forest` computes the packed forest at once with transformers' modules, `fused` with our own
            blocks (the Llama family); `plain` gives transformers one row at a time, unpatched, and takes
            `log_softmax` of all its logits: the reference.

    Returns:
        Log-probs [S] in nats: float64 for a float64 model, else fp32.

    Raises:
        ModelError: if the engine has no such name or the model has no plain output matrix.
    """
    return score_tokens(model, forest, engine=engine).logp_S


def score_tokens(model: Any, forest: Forest, *, engine: EngineName = "forest") -> Scores:
    """Return log-probs as `score` does, and whether each token had the largest one at its place.

    Args:
        model: a causal LM of transformers, or a PEFT model around one.
        forest: the rows.
        engine: as in `score`.

    Raises:
        ModelError: as `score` does.
    """
    score_with = _ENGINES.get(engine)
    if score_with is None:
        raise ModelError(f"engine {engine!r} is not known; give one of {', '.join(_ENGINES)}")
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    return score_with(causal_lm, forest.to(causal_lm.get_input_embeddings().weight.device))


class _Plan(NamedTuple):
    """What of a forest is `computed`, where that is read [P], and which tokens are scored there.

    A token on a prefix of several rows is one of the N pairs of position and token; `pair_S` says which.
    """

    computed: Forest
    read_P: Tensor
    position_N: Tensor
    token_N: Tensor
    pair_S: Tensor

    @classmethod
    def of(cls, forest: Forest, config: Any) -> _Plan:
        computed, kept_T = select_computed(config, forest)
        token_U, pair_S = forest.scored_S.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        parent_P, at_U = forest.parent_T[token_U].unique(return_inverse=True)  # type: ignore[no-untyped-call]
        order_U = at_U.argsort(stable=True)
        return cls(
            computed=computed,
            read_P=torch.searchsorted(kept_T, parent_P),
            position_N=at_U[order_U],
            token_N=forest.ids_T[token_U[order_U]],
            pair_S=order_U.argsort()[pair_S],
        )


def _score_forest(model: Any, forest: Forest) -> Scores:
    take_over(model)
    plan = _Plan.of(forest, model.config)
    embedded_TE = model.get_input_embeddings()(plan.computed.ids_T)
    with _bf16_products(model):
        hidden_TE = model.get_decoder()(
            inputs_embeds=widen(embedded_TE[None]),  # so that what the layers add is added in fp32
            position_ids=plan.computed.position_T[None],
            attention_mask=forest.ids_T.new_empty(1, 1, 0, 0),  # four dimensions: transformers makes no mask
            use_cache=False,
            forest=ForestAttention(plan.computed),
        ).last_hidden_state[0]
        return _read_head(model, hidden_TE[plan.read_P], plan)


def _score_fused(model: Any, forest: Forest) -> Scores:
    reason = explain_unfused(model)
    if reason is not None:
        raise ModelError(f"the fused engine can't compute this model: {reason}; use `engine: forest`")
    plan = _Plan.of(forest, model.config)
    with _bf16_products(model):
        return _read_head(model, decode(model, plan.computed, read_P=plan.read_P), plan)


def _bf16_products(model: Any) -> AbstractContextManager[Any]:
    """Let layers with bf16 weights take fp32 inputs inside."""
    if any(parameter.dtype == torch.bfloat16 for parameter in model.parameters()):
        return torch.autocast(model.device.type, torch.bfloat16)
    return nullcontext()


def _read_head(model: Any, hidden_PE: Tensor, plan: _Plan) -> Scores:
    """Return the scored tokens' log-probs from the last hidden states [P, E] at the read positions."""
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or getattr(head, "bias", None) is not None:
        raise ModelError(
            f"the output layer is a {type(head).__name__}; the forest engine needs one plain matrix: "
            "leave it out of the adapter's targets or use `engine: plain`"
        )
    weight_VE = head.weight.to(product_dtype(head.weight))
    logit_map = LogitMap.of(model.config)
    logp_N, is_best_N = TokenLogProbs.apply(  # type: ignore[no-untyped-call]
        hidden_PE, weight_VE, plan.position_N, plan.token_N, logit_map
    )
    return Scores(logp_N[plan.pair_S], is_best_N[plan.pair_S])


def _score_plain(model: Any, forest: Forest) -> Scores:
    give_back(model)
    parents = forest.parent_T.tolist()
    logp_S: list[Tensor] = []
    is_best_S: list[Tensor] = []
    if not len(forest.scored_S):
        return Scores(torch.empty(0), torch.empty(0, dtype=torch.bool))
    counts: Tensor = torch.unique_consecutive(forest.row_S, return_counts=True)[1]
    for scored in torch.split(forest.scored_S, counts.tolist()):
        path = [int(scored[-1])]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        ids = forest.ids_T[path[::-1]]
        with _bf16_products(model):
            logits_TV = widen(model(input_ids=ids[None], use_cache=False).logits[0])
        depth = forest.position_T[scored]
        logp_S.append(torch.log_softmax(logits_TV, -1)[depth - 1, ids[depth]])
        is_best_S.append(logits_TV.argmax(-1)[depth - 1] == ids[depth])
    return Scores(torch.cat(logp_S), torch.cat(is_best_S))


_ENGINES: dict[str, Callable[[Any, Forest], Scores]] = {
    "forest": _score_forest,
    "fused": _score_fused,
    "plain": _score_plain,
}
