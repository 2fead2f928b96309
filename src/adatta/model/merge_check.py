"""Proof that a merged model is the model that was trained, and what quantisation cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adatta.core.errors import ExactnessError
from adatta.core.records import TokenRow
from adatta.model.adapter import Trainable
from adatta.model.architecture import EXACT
from adatta.model.exactness import choose_engine
from adatta.model.files import read_config, tensor_files
from adatta.model.forest import build_forest, pack
from adatta.model.score import EngineName, score

# N recorded tokens, O outputs and I inputs of a linear layer, R rank of its update, S scored tokens

MODULE_TOLERANCE = 1e-5  # of the base's output, a token
LOG_PROB_TOLERANCE = 1e-4  # nats a token
RECORDED_TOKENS = 64
CHECKED_TOKENS = 512
FOREST_TOKENS = 1024  # of held-out rows at once
HEAD = "lm_head.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An adapted layer as it was trained: some of its inputs [N, I] and its update, as PEFT applies it.

    `magnitude_O` are the lengths of DoRA; None without it.
    """

    input_NI: Tensor
    down_RI: Tensor
    up_OR: Tensor
    scale: float
    magnitude_O: Tensor | None = None


def cut_rows(rows: Sequence[TokenRow], num_tokens: int) -> list[TokenRow]:
    """Return rows up to `num_tokens` in all, every token but the first scored; the last one is cut."""
    cut: list[TokenRow] = []
    for row in rows:
        ids = row.ids[:num_tokens]
        num_tokens -= len(ids)
        if len(ids) > 1:
            cut.append(TokenRow(ids=ids, weights=(1.0,) * len(ids), row_id=row.row_id, branch=row.branch))
    return cut


def record_inputs(trained: Trainable, rows: Sequence[TokenRow]) -> dict[str, Recorded]:
    """Return every adapted layer's inputs for the first tokens of rows, and its update as PEFT holds it.

    Args:
        trained: an adapter on its base.
        rows: at least one; up to 64 tokens are used.
    """
    modules = trained.model.get_base_model().named_modules()
    layers = {name: layer for name, layer in modules if hasattr(layer, "lora_A")}
    inputs: dict[str, Tensor] = {}
    engine = _modules_engine(trained.model)

    def keep(layer: Any, args: tuple[Tensor, ...], *, name: str) -> None:
        inputs[name] = args[0].detach()[0].float().cpu()

    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_pre_hook(partial(keep, name=name)).remove)
        forest = build_forest(cut_rows(rows, RECORDED_TOKENS), share_prefix=False)
        score(trained.model, forest, engine=engine)
    return {
        name: Recorded(
            input_NI=inputs[name],
            down_RI=layer.lora_A["default"].weight.detach().float().cpu(),
            up_OR=layer.lora_B["default"].weight.detach().float().cpu(),
            scale=layer.scaling["default"],
            magnitude_O=_read_magnitude(layer),
        )
        for name, layer in layers.items()
    }


def _read_magnitude(layer: Any) -> Tensor | None:
    lengths = layer.lora_magnitude_vector
    return lengths["default"].weight.detach().float().cpu() if lengths else None


def module_error(base_OI: Tensor, merged_OI: Tensor, *, recorded: Recorded) -> float:
    """Return the largest `|(W + D)x - (Wx + sBAx)| / |Wx|` over recorded inputs x, in fp32.

    With DoRA, `m (Wx + sBAx) / |W + sBA|` is what was trained, a length for each output.

    Args:
        base_OI: weights [O, I] that the adapter was put on.
        merged_OI: weights [O, I] after the merge.
        recorded: the layer as it was trained.
    """
    input_NI = recorded.input_NI
    base_NO = input_NI @ base_OI.float().T
    update_NO = recorded.scale * ((input_NI @ recorded.down_RI.T) @ recorded.up_OR.T)
    trained_NO = base_NO + update_NO
    if recorded.magnitude_O is not None:
        moved_OI = base_OI.float() + recorded.scale * (recorded.up_OR @ recorded.down_RI)
        trained_NO = trained_NO * (recorded.magnitude_O / moved_OI.square().sum(1).sqrt())
    error_NO = input_NI @ merged_OI.float().T - trained_NO
    return float((error_NO.norm(dim=-1) / base_NO.norm(dim=-1).clamp_min(1e-30)).max())


def check_ties(base_folder: Path, merged_folder: Path) -> None:
    """Raise unless embedding and output matrix are one tensor exactly where they are in the base.

    Args:
        base_folder: the stage's input model.
        merged_folder: the merged one.

    Raises:
        ExactnessError: if a tie was broken or made.
    """
    tied = bool(read_config(base_folder).get("tie_word_embeddings", False))
    merged_tied = bool(read_config(merged_folder).get("tie_word_embeddings", False))
    has_head = HEAD in tensor_files(merged_folder)
    if merged_tied != tied or has_head == tied:
        raise ExactnessError(
            f"the base has tie_word_embeddings {tied}; the merged model has {merged_tied} and "
            f"{'a' if has_head else 'no'} tensor {HEAD}: the tie was not kept, merge again"
        )


def log_probs(model: Any, rows: Sequence[TokenRow]) -> Tensor:
    """Return the log-probs [S] of the first 512 tokens of rows."""
    with torch.no_grad():
        return score(model, build_forest(cut_rows(rows, CHECKED_TOKENS)), engine=_modules_engine(model)).cpu()


def _modules_engine(model: Any) -> EngineName:
    """Name the engine that calls transformers' and PEFT's own layers."""
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "forest" if type(causal_lm).__name__ in EXACT else "plain"


def largest_difference(trained_S: Tensor, merged_S: Tensor) -> float:
    """Return how far two models' log-probs are apart at most, in nats a token.

    Args:
        trained_S: of the trained model [S].
        merged_S: of the merged one [S].

    Raises:
        ExactnessError: if that is more than 1e-4.
    """
    largest = float((trained_S - merged_S).abs().max())
    if not largest <= LOG_PROB_TOLERANCE:
        raise ExactnessError(
            f"the merged model's log-probs differ by up to {largest:.3g} nats from those of the trained one; "
            f"at most {LOG_PROB_TOLERANCE} is allowed: the merge is wrong, nothing was kept"
        )
    return largest


def bits_per_byte(trainable: Trainable, groups: Sequence[Sequence[TokenRow]], *, num_bytes: int) -> float:
    """Return the bits that rows' scored tokens cost, for each byte of their text.

    Args:
        trainable: the model.
        groups: the token rows of each row, by their weights.
        num_bytes: of the text that the scored tokens stand for.

    Source: arXiv:2101.00027 section 3.1.
    """
    nats = 0.0
    with torch.no_grad(), trainable.computing():
        engine = choose_engine(trainable.model, groups[0][0].ids, engine="auto")
        rows = list(chain.from_iterable(groups))  # each apart: windows of a document need no forest together
        for members in pack([[row] for row in rows], FOREST_TOKENS):
            forest = build_forest([rows[index] for index in members])
            logp_S = score(trainable.model, forest, engine=engine).cpu()
            nats -= float((logp_S.double() * forest.weight_S).sum())
    return nats / math.log(2) / num_bytes


def check_errors(errors: Mapping[str, float]) -> float:
    """Return the largest error of the layers.

    Args:
        errors: by layer, from `module_error`.

    Raises:
        ExactnessError: if one is more than 1e-5.
    """
    wrong = {name: error for name, error in errors.items() if not error <= MODULE_TOLERANCE}
    if wrong:
        worst = max(wrong, key=lambda name: wrong[name])
        raise ExactnessError(
            f"{len(wrong)} of {len(errors)} merged layers differ from what was trained, {worst} by "
            f"{wrong[worst]:.3g} of its output; at most {MODULE_TOLERANCE} is allowed: nothing was kept"
        )
    return max(errors.values())
