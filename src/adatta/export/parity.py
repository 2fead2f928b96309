"""Does what was exported answer as the model it came from: ids, greedy answers, bits per byte, ends."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gguf import GGUFReader
from peft import PeftModel

from adatta.chat.render import Chat
from adatta.core.errors import ParityError
from adatta.core.progress import track
from adatta.core.records import Document, Message, Origin, TokenRow
from adatta.core.yaml_source import packaged_yaml
from adatta.evals.runner import sum_groups
from adatta.evals.statistics import paired_difference, ratio_estimate, wilson
from adatta.export.conversations import compare_ids
from adatta.export.job import ExportJob
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import LlamaCppEngine
from adatta.model.generate import generate_greedy
from adatta.model.load import load_model, peft_without_noise

# S answered tokens, V vocabulary

TOLERANCE_NATS = 0.05
NEW_TOKENS = 64

_FIXED = packaged_yaml("adatta.export", "parity.yaml")
PROMPTS: tuple[str, ...] = tuple(_FIXED["prompts"])
LIMITS: Mapping[str, float] = _FIXED["limits"]
TEXTS: Mapping[str, Sequence[str]] = _FIXED["texts"]
UNROUNDED = ("adapter", "gguf-f16")
"""Formats whose answers are the model's own, but for the last bits."""


class _Text(NamedTuple):
    """A text of a language as ids, and its length in bytes."""

    language: str
    row: TokenRow
    num_bytes: int


class _Given(NamedTuple):
    """What a model gave: an answer (ids) to each prompt with log-probs if known, nats of each text."""

    answers: Sequence[Sequence[int]]
    logps: Sequence[Sequence[float]]
    nats: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is asked: prompts with their ids, texts, longest answer; llama.cpp's threads."""

    chat: Chat
    prompts: Sequence[str]
    contexts: Sequence[tuple[int, ...]]
    texts: Sequence[_Text]
    limit: int
    threads: int | None


def check_exports(
    job: ExportJob,
    exported: Mapping[str, Sequence[Path]],
    *,
    prompts: Sequence[str] = PROMPTS,
    limit: int = NEW_TOKENS,
    threads: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Compare exports with the merged model that they were made from, computed in fp32.

    Every export gets the same ids, answers every prompt greedily and reads texts in Italian and English.
    Where the merged model would not have chosen an export's token, their agreement ends. For an adapter and
    16 bits that must be a tie: its own choice less than `TOLERANCE_NATS` ahead. And up to there log-probs of
    a 16-bit file are those of the model with its matrices rounded to what the file holds: what rounding
    itself does isn't an error of the file.

    Args:
        job: what was exported.
        exported: the files of each format, the main one first.
        prompts: questions, none of which is left out.
        limit: most new tokens of an answer.
        threads: llama.cpp's threads; None takes every core.

    Returns:
        Figures of `merged` and of each format; `not_held` says what is worse than `LIMITS` allow.

    Raises:
        ParityError: an export is broken, naming the first difference.
    """
    chat = job.chat
    asked = _Asked(
        chat=chat,
        prompts=prompts,
        contexts=[_context(chat, prompt) for prompt in prompts],
        texts=list(_read_texts(chat)),
        limit=limit,
        threads=threads,
    )
    model: Any = load_model(job.model_folder, torch.float32)
    merged = _run_model(model, asked)
    found = {"merged": _figures(merged, merged, asked)}
    for name in sorted(exported, key="gguf-f16".__eq__):  # it rounds the model, so it comes last
        main, facts = exported[name][0], {}
        if name == "safetensors":
            continue  # the same files, read by the same code
        if name == "adapter":
            given = _run_adapter(job, main.parent, asked)
        else:
            facts = describe_gguf(main)
            given = _run_gguf(main, asked)
        agreed, ties = _compare_answers(model, given, asked, name=name)
        found[name] = _figures(given, merged, asked) | facts | {"answers": _agreement(given, agreed, ties)}
        if name == "gguf-f16":
            _round_matrices(model)
            found[name]["log_probs"] = _compare_log_probs(model, given, agreed, asked)
        found[name]["not_held"] = list(_find_worse(name, found[name], found["merged"]))
    return found


def _context(chat: Chat, prompt: str) -> tuple[int, ...]:
    """Return the ids of a question, or of a text to be continued where there is no template."""
    if chat.template is None:
        return chat.continuation("", prompt).ids
    return chat.prompt([Message(role="user", content=prompt)])


def _read_texts(chat: Chat) -> Iterator[_Text]:
    for language, texts in TEXTS.items():
        for text in texts:
            document = Document(text=text, row_id="", origin=Origin(path="parity.yaml", line=0))
            num_bytes = len(text.encode())  # more than it has tokens
            (row,) = chat.document(document, num_bytes + 2, score_end=False)
            yield _Text(language, row, num_bytes)


def _run_model(model: Any, asked: _Asked) -> _Given:
    """Let a model of transformers answer and read."""
    answers = generate_greedy(
        model,
        asked.contexts,
        stop_ids=asked.chat.stop_ids,
        limit=asked.limit,
        pad_id=asked.chat.end_id,
    )
    nats = sum_groups(model, [[text.row] for text in asked.texts], engine="plain")
    return _Given(answers, (), [-total for (total,) in nats])


def _run_adapter(job: ExportJob, adapter: Path, asked: _Asked) -> _Given:
    """Let base and adapter answer and read."""
    if job.base is None:
        raise ParityError(f"adapter {adapter} has no base to be compared on")
    with peft_without_noise():
        model = PeftModel.from_pretrained(load_model(job.base.folder, torch.float32), str(adapter)).eval()
    return _run_model(model, asked)


def _run_gguf(path: Path, asked: _Asked) -> _Given:
    """Let a GGUF file answer and read in llama.cpp, and compare its tokenizer and template with ours.

    Raises:
        ParityError: at the first text that gets other ids.
    """
    sampling = Sampling(stop_ids=asked.chat.stop_ids, limit=asked.limit, seed=0)
    room = max(max(map(len, asked.contexts)) + asked.limit, *(len(text.row.ids) for text in asked.texts))
    with LlamaCppEngine(path, context=room, threads=asked.threads, is_exact=True) as engine:
        compare_ids(asked.chat, engine)
        answers, nats = [], []
        with track(len(asked.contexts) + len(asked.texts), f"{path.name}: parity", unit="texts") as bar:
            for context in asked.contexts:
                answers.append(list(engine.stream_scored(context, sampling)))
                bar.advance(1)
            for text in asked.texts:
                first, *rest = text.row.ids
                nats.append(-math.fsum(*engine.log_probs([first], [rest])))
                bar.advance(1)
    ids = [[candidate.id for candidate in answer] for answer in answers]
    return _Given(ids, [[candidate.logp for candidate in answer] for answer in answers], nats)


@torch.inference_mode()
def _score(model: Any, context: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Return the model's log-probs [S, V] at every token of the answer."""
    ids_1T = torch.tensor([[*context, *answer][:-1]])
    logp_SV: torch.Tensor = model(ids_1T, logits_to_keep=len(answer)).logits[0].float().log_softmax(-1)
    return logp_SV


def _compare_answers(
    model: Any, given: _Given, asked: _Asked, *, name: str
) -> tuple[list[int], list[dict[str, Any]]]:
    """Count how many tokens of each answer the model would have chosen, and describe where that ends."""
    agreed, ends = [], []
    for prompt, context, answer in zip(asked.prompts, asked.contexts, given.answers, strict=True):
        end = find_difference(_score(model, context, answer), answer)
        agreed.append(len(answer) if end is None else end["position"])
        if end is not None:
            ends.append({"prompt": prompt, **end})
            if name in UNROUNDED and not end["gap_nats"] < TOLERANCE_NATS:
                raise ParityError(
                    f"{name}, prompt {prompt!r}, new token {end['position']}: it chose id {end['theirs']}, "
                    f"the merged model {end['ours']}, which it finds {end['gap_nats']:.4f} nats likelier; "
                    f"less than {TOLERANCE_NATS} is a tie. It doesn't compute what the model does"
                )
    return agreed, ends


def find_difference(logp_SV: torch.Tensor, answer: Sequence[int]) -> dict[str, Any] | None:
    """Describe the first token of an answer that a model would not have chosen.

    Args:
        logp_SV: the model's log-probs [S, V] at every token.
        answer: ids.

    Returns:
        `position`, the id that is there and the model's own, and how much likelier it finds that; or None.
    """
    for position, (theirs, ours) in enumerate(zip(answer, logp_SV.argmax(-1).tolist(), strict=True)):
        if ours != theirs:
            gap = float(logp_SV[position, ours] - logp_SV[position, theirs])
            return {"position": position, "theirs": theirs, "ours": ours, "gap_nats": gap}
    return None


def _agreement(given: _Given, agreed: Sequence[int], ends: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "prompts": len(agreed),
        "same": len(agreed) - len(ends),
        "median_agreed_tokens": statistics.median(agreed),
        "median_tokens": statistics.median(map(len, given.answers)),
        "first_difference": ends[0] if ends else None,
    }


@torch.no_grad()
def _round_matrices(model: Any) -> None:
    """Round what the file holds with 16 bits."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.copy_(parameter.half())


def _compare_log_probs(rounded: Any, given: _Given, agreed: Sequence[int], asked: _Asked) -> dict[str, float]:
    """Compare log-probs of the agreed tokens with those of the model whose matrices are rounded, in nats.

    Raises:
        ParityError: if they differ by more than the tolerance.
    """
    found: list[float] = []
    for number, length in enumerate(agreed):
        answer = given.answers[number][:length]
        logp_SV = _score(rounded, asked.contexts[number], answer) if answer else torch.empty(0, 1)
        for position, (token, theirs) in enumerate(zip(answer, given.logps[number], strict=False)):
            ours = float(logp_SV[position, token])
            found.append(abs(ours - theirs))
            if not found[-1] <= TOLERANCE_NATS:
                raise ParityError(
                    f"prompt {asked.prompts[number]!r}, new token {position} (id {token}): log-prob "
                    f"{theirs:.4f} in the GGUF file, {ours:.4f} in the rounded model; expected at most "
                    f"{TOLERANCE_NATS} apart"
                )
    return {
        "median_difference_nats": statistics.median(found) if found else 0.0,
        "largest_difference_nats": max(found, default=0.0),
        "tolerance_nats": TOLERANCE_NATS,
    }


def _find_stops(given: _Given, asked: _Asked) -> list[float]:
    """Return by question 1 where the answer ends by itself, else 0."""
    return [float(bool(answer) and answer[-1] in asked.chat.stop_ids) for answer in given.answers]


def _figures(given: _Given, merged: _Given, asked: _Asked) -> dict[str, Any]:
    """Return stop share and bits per byte, with intervals, and how much these changed, as a share."""
    stops = _find_stops(given, asked)
    ends = paired_difference(_find_stops(merged, asked), stops)
    figures: dict[str, Any] = {
        "stop_share": sum(stops) / len(stops),
        "stop_share_ci95": wilson(int(sum(stops)), len(stops)),
        "stop_share_difference": ends.value,
        "stop_share_difference_ci95": ends.interval or (-1.0, 1.0),  # of one question nothing is known
        "bits_per_byte": {},
    }
    for language in dict.fromkeys(text.language for text in asked.texts):
        numbers = [number for number, text in enumerate(asked.texts) if text.language == language]
        bits = [given.nats[number] / math.log(2) for number in numbers]
        own = [merged.nats[number] / math.log(2) for number in numbers]
        sizes = [asked.texts[number].num_bytes for number in numbers]
        more = [theirs - ours for theirs, ours in zip(bits, own, strict=True)]
        value, change = ratio_estimate(bits, sizes), ratio_estimate(more, own)  # in the same resamples
        figures["bits_per_byte"][language] = {
            "value": value.value,
            "ci95": value.interval,
            "change": change.value,
            "change_ci95": change.interval,
        }
    return figures


def _find_worse(name: str, figures: Mapping[str, Any], merged: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is shown to be worse than it may be."""
    for language, figure in figures["bits_per_byte"].items():
        low, high = figure["change_ci95"]
        if low > LIMITS[name]:
            yield (
                f"{name}: bits per byte {language} {figure['change']:+.2%} against merged ({low:+.2%} to "
                f"{high:+.2%}), at most {LIMITS[name]:+.2%} is expected"
            )
    low, high = figures["stop_share_difference_ci95"]
    if not low <= 0 <= high:
        yield (
            f"{name}: {figures['stop_share']:.0%} of answers end, {merged['stop_share']:.0%} of merged's "
            f"(difference {low:+.0%} to {high:+.0%})"
        )


def describe_gguf(path: Path) -> dict[str, Any]:
    """Return the types of a GGUF file's matrices by group, and the context that it allows.

    Args:
        path: the file.

    Returns:
        `types`, such as {"attn_v": "Q6_K x 12, Q4_K x 12"}, and `context_length`.
    """
    reader = GGUFReader(path)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for tensor in (tensor for tensor in reader.tensors if len(tensor.shape) > 1):
        groups[tensor.name.split(".")[-2]][tensor.tensor_type.name] += 1
    types = {
        group: ", ".join(f"{kind} x {times}" for kind, times in kinds.most_common())
        for group, kinds in groups.items()
    }
    architecture = reader.fields["general.architecture"].contents()
    context = reader.fields[f"{architecture}.context_length"].contents()
    return {"types": types, "context_length": int(context)}


def show_figures(name: str, figures: Mapping[str, Any]) -> str:
    """Write a format's figures as a line."""
    answers = figures["answers"]
    costs = (f"{language} {cost['change']:+.2%}" for language, cost in figures["bits_per_byte"].items())
    return (
        f"{name}: {answers['same']} of {answers['prompts']} answers are merged's (median agreement "
        f"{answers['median_agreed_tokens']:g} of {answers['median_tokens']:g} tokens), bits per byte "
        f"{', '.join(costs)}, {figures['stop_share']:.0%} end"
    )
