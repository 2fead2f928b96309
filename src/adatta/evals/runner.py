"""Evaluate a loaded model on a suite: log-probs through forests, answers through the one generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adatta.chat.render import Chat
from adatta.core.progress import track
from adatta.core.records import Score, TokenRow
from adatta.evals.ask import Limits, Subject, ask_suite
from adatta.evals.row_scores import FOREST_TOKENS, RowScore, score_rows
from adatta.evals.suite import Suite
from adatta.model.exactness import choose_engine
from adatta.model.score import EngineName

PROBE = "Roma è la capitale d'Italia, e il Tevere la attraversa prima di arrivare al mare, a Ostia."


def evaluate_model(
    model: Any,
    chat: Chat,
    *,
    suite: Suite,
    subject: Subject,
    limits: Limits,
    generate: Callable[..., list[tuple[int, ...]]],
    engine: EngineName = "forest",
) -> list[Score]:
    """Evaluate a model on all items of a suite.

    Args:
        model: A causal LM of transformers, in the precision that it is measured in.
        chat: Its chat format; for `control-plain` loaded without a system prompt.
        suite: What is asked.
        subject: The model's place in the table.
        limits: Context and longest answer.
        generate: As `model.generate.generate_greedy`.
        engine: As in `model.score.score`.

    Returns:
        One score an item and metric.

    Raises:
        EvalError: The chat inserts a system prompt where none belongs.
        RowError: The suite's files have mistakes.
    """

    def sum_log_probs(groups: Sequence[Sequence[TokenRow]]) -> list[list[float]]:
        with track(sum(map(len, groups)), f"{subject.stage}: log-probs", unit="rows") as bar:
            return sum_groups(model, groups, engine=engine, progress=bar.advance)

    def answer(prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        with track(len(prompts), f"{subject.stage}: answers", unit="answers") as bar:
            return generate(
                model,
                prompts,
                stop_ids=chat.stop_ids,
                limit=limits.max_new_tokens,
                pad_id=chat.end_id,
                progress=bar.advance,
            )

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
    progress: Callable[[int], None] = lambda count: None,
) -> list[list[float]]:
    """Sum the log-probs of each row's scored tokens, as `score_rows` does.

    Args:
        model: A causal LM of transformers.
        groups: The rows of each item.
        engine: As in `model.score.score`.
        forest_tokens: Largest forest, in tokens; it moves the last bits only.
        progress: Called with the number of rows that a forest added.

    Returns:
        Summed log-probs in nats, shaped as `groups`.
    """
    rows = [row for group in groups for row in group]
    found: dict[int, RowScore] = {}
    for scores in score_rows(model, rows, engine=engine, forest_tokens=forest_tokens):
        found |= scores
        progress(len(scores))
    numbers = iter(range(len(rows)))
    return [[found[next(numbers)].log_prob for _ in group] for group in groups]
