"""Zero-shot classification: how likely a label is behind a text, against how likely it is behind any text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict, get_args

import numpy as np

from adatta.chat.render import Chat
from adatta.core.errors import EvalError, Problem, RowError, UserError
from adatta.core.problems import Problems
from adatta.core.records import Conversation, Message, Origin, TokenRow
from adatta.evals.corpus import Labelled, corpus_estimate
from adatta.evals.statistics import Floats, wilson
from adatta.lang.profile import Profile

# N texts, J judgements about one, K options of a judgement

Calibration = Literal["content-free", "batch", "none"]
Labels = Sequence[str] | Mapping[str, str]

CONTENT_FREE = ("N/A", "[MASK]", "")  # Source: arXiv:2102.09690, section 5
MIN_BATCH = 10  # texts; a batch of fewer says more of its own labels than of the model's bias
_TEMPLATE = re.compile(r".*\{text\}.*\{label\}(?:[^{}]*|[^{}]*\{(?P<answers>[^{}|]+\|[^{}|]+)\})", re.DOTALL)


class Asking(TypedDict, total=False):
    """How texts are classified.

    `several`: a text may have any number of labels, each of which is then a question for yes or no, and holds
    from the probability `threshold` on (0.5). `template`, in place of the language's: `{text}`, behind it
    `{label}`; where there are `several`, both answers at its end, as `{yes|no}`; `{labels}` is the list of
    all with their descriptions. `calibration`: by what a label's probability is divided:
    `content-free` (the default), what it is behind texts that say nothing; `batch`, its mean over the texts.
    """

    several: bool
    template: str | None
    calibration: str
    threshold: float


class Classified(NamedTuple):
    """What a text got: the likeliest label, or all that reach the threshold; each label's probability."""

    labels: tuple[str, ...]
    probabilities: dict[str, float]


class Question:
    """What is asked about a text, and how its answers are taken: the fields of `Asking`.

    `labels` have descriptions, which may be empty; `answers` are there where each label is judged by itself.
    """

    def __init__(
        self,
        labels: Labels,
        profile: Profile,
        *,
        several: bool = False,
        template: str | None = None,
        calibration: str = "content-free",
        threshold: float = 0.5,
    ) -> None:
        """Put a question together.

        Args:
            labels: names, or `name=description`; or descriptions by name.
            profile: of the language, for its template.
            several: as in `Asking`.
            template: as in `Asking`.
            calibration: as in `Asking`.
            threshold: as in `Asking`.

        Raises:
            UserError: labels, template, calibration or threshold can't be used.
        """
        pairs = (
            labels.items() if isinstance(labels, Mapping) else [each.partition("=")[::2] for each in labels]
        )
        self.labels = {name.strip(): about.strip() for name, about in pairs}
        least = 1 if several else 2
        if len(self.labels) < max(len(pairs), least) or "" in self.labels:
            given = ", ".join(repr(name) for name, _ in pairs) or "none"
            raise UserError(f"labels given: {given}; expected {least} or more, all different, none empty")
        self.template = template or (profile.yes_no_prompt if several else profile.label_prompt)
        found = _TEMPLATE.fullmatch(self.template)
        num = max(map(self.template.count, ("{text}", "{label}")))
        if not found or bool(found["answers"]) != several or num > 1:
            ending = ", then both answers at its end, as {yes|no}" * several
            raise UserError(f"template {self.template!r}; expected {{text}}, then {{label}}, once{ending}")
        self.answers = found["answers"].split("|") if several else []
        if calibration not in get_args(Calibration) or not 0 < threshold < 1:
            known = ", ".join(get_args(Calibration))
            raise UserError(
                f"calibration {calibration!r}, threshold {threshold}; expected {known}, and one in (0, 1)"
            )
        self.calibration, self.threshold = calibration, threshold

    def judgements(self, text: str) -> list[list[tuple[str, str]]]:
        """List the options of each judgement about a text: what is read, and what is scored behind it."""
        head, _, behind = self.template.partition("{text}")
        between, _, end = behind.partition("{label}")
        listed = "\n".join(f"- {label}: {about}".removesuffix(": ") for label, about in self.labels.items())
        head, between = (part.replace("{labels}", listed) for part in (head, between))
        prompt = head + text + between
        if not self.answers:
            return [[(prompt, label + end) for label in self.labels]]
        question = end.partition("{")[0]
        named = [f"{label} ({about})".removesuffix(" ()") for label, about in self.labels.items()]
        return [[(prompt + each + question, answer) for answer in self.answers] for each in named]


def classify(
    texts: Mapping[str, str],
    question: Question,
    *,
    chat: Chat,
    context: int,
    score: Callable[[Sequence[TokenRow]], Sequence[float]],
) -> list[Classified]:
    """Classify texts.

    Args:
        texts: by their place, which messages name.
        question: what is asked.
        chat: turns text into ids.
        context: largest number of ids of a row.
        score: gives the summed log-prob (nats) of each row's scored ids.

    Returns:
        One result a text.

    Raises:
        RowError: a text is empty, or too long: nothing is cut.
        UserError: too few texts for `batch`.
        EvalError: a log-prob isn't finite.

    Source: arXiv:2102.09690 (content-free), arXiv:2309.17249 (batch). Differs: probabilities are divided by
        the prior and normalised, not put through another softmax; the most likely label is the same.
    """
    num = len(texts)
    if question.calibration == "batch" and num < MIN_BATCH:
        raise UserError(f"calibration by batch needs {MIN_BATCH} texts, {num} given; use content-free")
    rows, problems = [], Problems()
    for place, text in texts.items():
        made = _make_rows(text, question, chat)
        rows += made
        longest = max(len(row.ids) for row in made)
        if not text.strip():
            problems.append(Problem(where=place, what="an empty text", hint="fill it in or take it out"))
        elif longest > context:
            what = f"{longest} tokens with the question, the model takes {context}"
            problems.append(Problem(where=place, what=what, hint="shorten the text or divide it"))
    if problems.first:
        raise RowError(problems.shortened())
    if question.calibration == "content-free":
        rows += [row for text in CONTENT_FREE for row in _make_rows(text, question, chat)]
    sums = np.array(score(rows), dtype=np.float64)
    if not np.isfinite(sums).all():
        raise EvalError("a log-prob is not a finite number; is the model damaged?")
    logp_NJK = _normalise(sums.reshape(-1, *np.shape(question.judgements(""))[:2]))
    if question.calibration != "none":
        others_NJK = logp_NJK[num:] if question.calibration == "content-free" else logp_NJK
        logp_NJK = _normalise(logp_NJK - np.log(np.exp(others_NJK).mean(0)))
    return [_decide(found_JK, question) for found_JK in np.exp(logp_NJK[:num])]


def measure_agreement(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, Any]:
    """Compare labels with the right ones.

    Args:
        gold: the right label of each text.
        predicted: what was found, in the same order.

    Returns:
        `n`; `accuracy`, `macro_f1` and, by right label, `recall`, with 95% intervals; `confusion`: counts by
        right and found label.

    Raises:
        EvalError: there are no texts, or not as many of both.
    """
    macro = corpus_estimate("macro_f1", Labelled(gold, predicted))
    pairs, sizes = Counter(zip(gold, predicted, strict=True)), Counter(gold)
    hits = {right: pairs[right, right] for right in sizes}
    found = dict.fromkeys([*sizes, *predicted])
    return {
        "n": len(gold),
        "accuracy": _share(sum(hits.values()), len(gold)),
        "macro_f1": {"value": macro.value, "ci95": macro.interval},
        "recall": {right: _share(hits[right], size) for right, size in sizes.items()},
        "confusion": {right: {label: pairs[right, label] for label in found} for right in sizes},
    }


def _share(hits: int, num: int) -> dict[str, Any]:
    return {"value": hits / num, "ci95": wilson(hits, num)}


def _make_rows(text: str, question: Question, chat: Chat) -> list[TokenRow]:
    """Encode all options: as answers to a user, or, without a chat template, behind the prompt."""
    rows = []
    for prompt, scored in (option for judgement in question.judgements(text) for option in judgement):
        read = prompt.rstrip()  # what it ends with belongs to what is scored, as tokenizers have it
        if chat.template is None:
            rows.append(chat.continuation(read, prompt[len(read) :] + scored))
            continue
        turns = (Message(role="user", content=read.lstrip()), Message(role="assistant", content=scored))
        row = Conversation(messages=turns, row_id="", origin=Origin(path="", line=0))
        rows.append(chat.conversation(row, answers="last")[-1])
    return rows


def _normalise(logp_NJK: Floats) -> Floats:
    best_NJK = logp_NJK - logp_NJK.max(-1, keepdims=True)
    return np.asarray(best_NJK - np.log(np.exp(best_NJK).sum(-1, keepdims=True)))


def _decide(found_JK: Floats, question: Question) -> Classified:
    by_label = found_JK[:, 0] if question.answers else found_JK[0]
    found = dict(zip(question.labels, by_label.tolist(), strict=True))
    if question.answers:
        return Classified(tuple(each for each in found if found[each] >= question.threshold), found)
    return Classified((max(found, key=found.__getitem__),), found)
