"""Evaluate a loaded model on a suite: log-probs through forests, answers through the one generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from adatta.chat.render import Chat
from adatta.core.progress import track
from adatta.core.records import Score, TokenRow
from adatta.evals.ask import Limits, Subject, ask_suite
from adatta.evals.journal import Journal
from adatta.evals.suite import Suite
from adatta.model.exactness import choose_engine
from adatta.model.forest import build_forest, pack_rows
from adatta.model.generate import BATCH_ROWS, generate_greedy
from adatta.model.score import EngineName, score_tokens

FOREST_TOKENS = 4096  # a few-shot prompt of 700 tokens then costs a sixth on top of what it is shared by
NOTHING_KEPT = Journal()
PROBE = "Roma è la capitale d'Italia, e il Tevere la attraversa prima di arrivare al mare, a Ostia."


def evaluate_model(
    model: Any,
    chat: Chat,
    *,
    suite: Suite,
    subject: Subject,
    limits: Limits,
    engine: EngineName = "forest",
    journal: Journal = NOTHING_KEPT,
) -> list[Score]:
    """Evaluate a model on all items of a suite.

    Args:
        model: A causal LM of transformers, in the precision that it is measured in.
        chat: Its chat format; for `control-plain` loaded without a system prompt.
        suite: What is asked.
        subject: The model's place in the table.
        limits: Context and longest answer.
        engine: As in `model.score.score`.
        journal: Of this model; what it holds isn't computed again.

    Returns:
        One score an item and metric.

    Raises:
        EvalError: The chat inserts a system prompt where none belongs.
        RowError: The suite's files have mistakes.
    """

    def sum_log_probs(groups: Sequence[Sequence[TokenRow]]) -> list[list[float]]:
        with track(sum(map(len, groups)), f"{subject.stage}: log-probs", unit="rows") as bar:
            return sum_groups(model, groups, engine=engine, journal=journal, progress=bar.advance)

    def answer(prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        options = {"stop_ids": sorted(chat.stop_ids), "limit": limits.max_new_tokens, "pad_id": chat.end_id}
        with track(len(prompts), f"{subject.stage}: answers", unit="answers") as bar:
            return answer_prompts(model, prompts, options=options, journal=journal, progress=bar.advance)

    was_training = model.training
    model.eval()
    scores = ask_suite(
        suite, chat, subject=subject, limits=limits, sum_log_probs=sum_log_probs, generate=answer
    )
    model.train(was_training)
    return scores


def pick_engine(model: Any, chat: Chat, *, engine: str) -> EngineName:
    """Return the engine that scores a model: the one that was asked for, or the fastest exact one.

    Args:
        model: A causal LM of transformers.
        chat: Its chat format.
        engine: `auto`, or a name as in `model.score.score`.

    Raises:
        ExactnessError: The engine that was asked for can't compute the model, or isn't exact on it.
    """
    return choose_engine(model, chat.continuation("", PROBE).ids, engine=engine)


def sum_groups(
    model: Any,
    groups: Sequence[Sequence[TokenRow]],
    *,
    engine: EngineName = "forest",
    forest_tokens: int = FOREST_TOKENS,
    journal: Journal = NOTHING_KEPT,
    progress: Callable[[int], None] = lambda count: None,
) -> list[list[float]]:
    """Sum the log-probs of each row's scored tokens, as `score_rows` does.

    Args:
        model: A causal LM of transformers.
        groups: The rows of each item.
        engine: As in `model.score.score`.
        forest_tokens: Largest forest, in tokens; it moves the last bits only.
        journal: Of this model.
        progress: Called with the number of rows that a forest added.

    Returns:
        Summed log-probs in nats, shaped as `groups`.
    """
    rows = [row for group in groups for row in group]
    found: dict[int, RowScore] = {}
    for scores in score_rows(model, rows, engine=engine, forest_tokens=forest_tokens, journal=journal):
        found |= scores
        progress(len(scores))
    numbers = iter(range(len(rows)))
    return [[found[next(numbers)].log_prob for _ in group] for group in groups]


class RowScore(NamedTuple):
    """A row's summed log-prob in nats, and whether each scored token was the most likely one at its place."""

    log_prob: float
    is_greedy: bool


def score_rows(
    model: Any,
    rows: Sequence[TokenRow],
    *,
    engine: EngineName = "forest",
    forest_tokens: int = FOREST_TOKENS,
    journal: Journal = NOTHING_KEPT,
) -> Iterator[dict[int, RowScore]]:
    """Score rows in forests in which all that two rows begin with is computed once.

    Args:
        model: A causal LM of transformers.
        rows: In any order; each with at least one scored token.
        engine: As in `model.score.score`.
        forest_tokens: Largest forest, in tokens; it moves the last bits only.
        journal: Of this model.

    Yields:
        Of each forest as soon as it is computed: the scores of its rows by their place in `rows`, summed in
        float64.
    """
    for members in pack_rows(rows, forest_tokens):
        chosen = [rows[index] for index in members]
        requests = ([row.ids, [weight != 0 for weight in row.weights].index(True)] for row in chosen)
        scores = journal.fill(requests, partial(_score_forest, model, chosen, engine))
        yield {index: RowScore(*score) for index, score in zip(members, scores, strict=True)}


def _score_forest(model: Any, rows: Sequence[TokenRow], engine: EngineName) -> list[tuple[float, bool]]:
    forest = build_forest(rows).to(model.device)
    with torch.no_grad():
        found = score_tokens(model, forest, engine=engine)
    row_S = forest.row_S.cpu()
    sums = torch.zeros(len(rows), dtype=torch.float64)
    sums.index_add_(0, row_S, found.logp_S.double().cpu())
    missed = torch.zeros(len(rows)).index_add_(0, row_S, (~found.is_best_S).float().cpu())
    return list(zip(sums.tolist(), (missed == 0).tolist(), strict=True))


def answer_prompts(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    *,
    options: Mapping[str, Any],
    is_done: Callable[[Sequence[int]], bool] = lambda answer: False,
    mark: Any = None,
    journal: Journal = NOTHING_KEPT,
    progress: Callable[[int], None] = lambda count: None,
) -> list[tuple[int, ...]]:
    """Answer prompts greedily, those of like length together.

    Args:
        model: A causal LM of transformers.
        prompts: Ids, at least one each.
        options: Of `model.generate.generate_greedy`, values for JSON.
        is_done: As there.
        mark: What says which `is_done` it is, a value for JSON.
        journal: Of this model.
        progress: Called with the number of answers that a batch added.

    Returns:
        The ids of one answer a prompt, in order.
    """
    answers: dict[int, tuple[int, ...]] = {}
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for members in (order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS)):
        batch = [prompts[index] for index in members]
        compute = partial(generate_greedy, model, batch, is_done=is_done, **options)
        found = journal.fill(([ids, options, mark] for ids in batch), compute)
        answers |= {index: tuple(ids) for index, ids in zip(members, found, strict=True)}
        progress(len(batch))
    return [answers[index] for index in range(len(prompts))]
