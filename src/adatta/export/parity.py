"""Does an exported GGUF answer as the model it came from: greedy answers, log-probs, tokenisation."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from adatta.chat.render import Chat
from adatta.core.errors import ParityError
from adatta.core.records import Message
from adatta.core.yaml_source import packaged_yaml
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import Candidate, LlamaCppEngine
from adatta.model.load import load_model

# S answered tokens, V vocabulary

TOLERANCE_NATS = 0.05
NEW_TOKENS = 64

_TEXTS = packaged_yaml("adatta.export", "parity.yaml")
PROMPTS: tuple[str, ...] = tuple(_TEXTS["prompts"])
HARD_STRINGS: tuple[str, ...] = tuple(_TEXTS["hard_strings"])


def check_parity(
    model_folder: Path,
    gguf_path: Path,
    *,
    prompts: Sequence[str] = PROMPTS,
    limit: int = NEW_TOKENS,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Compare a GGUF file with the model folder that it was made from.

    The file answers every prompt greedily, and the model scores that answer. At the first token that the
    model would not have chosen, its own choice must be no more than `TOLERANCE_NATS` ahead (a tie, which the
    last bits decide). Up to there log-probs may differ by as much from those of the model with its matrices
    rounded to what the file holds: what rounding itself does isn't an error of the file.

    Args:
        model_folder: the merged model, computed in fp32.
        gguf_path: the file, with 16-bit weights: coarser ones differ by more than the tolerance.
        prompts: questions, none of which is left out.
        limit: most new tokens of an answer.
        threads: llama.cpp's threads; None takes every core.
        progress: called with 1 after each prompt.

    Returns:
        For the record: counts, largest and median difference in nats, ties.

    Raises:
        ParityError: naming prompt, position and values.
    """
    chat = Chat.load(model_folder)
    contexts = [chat.prompt([Message(role="user", content=prompt)]) for prompt in prompts]
    model = load_model(model_folder, torch.float32)
    sampling = Sampling(stop_ids=chat.stop_ids, limit=limit, seed=0)
    answers, ties = [], []
    room = max(map(len, contexts)) + limit
    with LlamaCppEngine(gguf_path, context=room, threads=threads, is_exact=True) as engine:
        _compare_tokenisation(chat, engine)
        for prompt, context in zip(prompts, contexts, strict=True):
            answer = list(engine.stream_scored(context, sampling))
            tie = _find_tie(prompt, answer, _score(model, context, answer))
            if tie is not None:
                ties.append(tie)
                answer = answer[: tie["position"]]
            answers.append((prompt, context, answer))
            progress(1)
    _round_matrices(model)
    differences: list[float] = []
    for prompt, context, answer in answers:
        if answer:
            differences += _compare_log_probs(prompt, answer, _score(model, context, answer))
    return {
        "prompts": len(prompts),
        "compared_tokens": len(differences),
        "same_answers": len(prompts) - len(ties),
        "ties": ties,
        "median_difference_nats": statistics.median(differences) if differences else 0.0,
        "max_difference_nats": max(differences, default=0.0),
        "tolerance_nats": TOLERANCE_NATS,
        "tokenised_strings": len(HARD_STRINGS),
    }


def _compare_tokenisation(chat: Chat, engine: LlamaCppEngine) -> None:
    """Compare the ids of `HARD_STRINGS`."""
    for text in HARD_STRINGS:
        ours, theirs = list(chat.continuation("", text).ids[1:]), engine.tokenise(text)
        if ours != theirs:
            raise ParityError(
                f"the GGUF file's tokenizer cuts {text!r} into {theirs}, the model's into {ours}; "
                "its pre-tokeniser is not the right one"
            )


@torch.inference_mode()
def _score(model: Any, context: Sequence[int], answer: Sequence[Candidate]) -> torch.Tensor:
    """Return the model's log-probs [S, V] at every token of the answer."""
    ids = [*context, *(candidate.id for candidate in answer)]
    ids_1T = torch.tensor([ids[:-1]])
    logp_SV: torch.Tensor = model(ids_1T, logits_to_keep=len(answer)).logits[0].float().log_softmax(-1)
    return logp_SV


def _find_tie(prompt: str, answer: Sequence[Candidate], logp_SV: torch.Tensor) -> dict[str, Any] | None:
    """Describe the first token that the model would not have chosen, which must be a tie.

    Raises:
        ParityError: if it isn't.
    """
    for position, (theirs, best) in enumerate(zip(answer, logp_SV.argmax(-1).tolist(), strict=True)):
        if best == theirs.id:
            continue
        gap = float(logp_SV[position, best] - logp_SV[position, theirs.id])
        if not gap < TOLERANCE_NATS:
            raise ParityError(
                f"prompt {prompt!r}, new token {position}: the GGUF file chose id {theirs.id} (log-prob "
                f"{theirs.logp:.4f}), the model {best}, which it finds {gap:.4f} nats likelier; at most "
                f"{TOLERANCE_NATS} is a tie. The file doesn't compute what the model does"
            )
        return {"prompt": prompt, "position": position, "gap_nats": gap}
    return None


@torch.no_grad()
def _round_matrices(model: Any) -> None:
    """Round what the file holds with 16 bits."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.copy_(parameter.half())


def _compare_log_probs(prompt: str, answer: Sequence[Candidate], logp_SV: torch.Tensor) -> list[float]:
    """Return how far the log-probs of an answer's tokens are apart, in nats.

    Raises:
        ParityError: if they differ by more than the tolerance.
    """
    differences = []
    for position, theirs in enumerate(answer):
        ours = float(logp_SV[position, theirs.id])
        if not abs(ours - theirs.logp) <= TOLERANCE_NATS:
            raise ParityError(
                f"prompt {prompt!r}, new token {position} (id {theirs.id}): log-prob {theirs.logp:.4f} in "
                f"the GGUF file, {ours:.4f} in the rounded model; expected at most {TOLERANCE_NATS} apart"
            )
        differences.append(abs(ours - theirs.logp))
    return differences
