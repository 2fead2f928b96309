"""The items on which the adapted model lost most against its base, with what was asked and answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from adatta.core.records import BASE, is_control

if TYPE_CHECKING:
    from adatta.core.records import Score
    from adatta.evals.harness_run import Benchmarks
    from adatta.evals.suite import Shown, Suite

NUM_SHOWN = 10


def find_regressions(
    scores: Sequence[Score], *, metrics: Sequence[Mapping[str, Any]], suites: Iterable[Suite | Benchmarks]
) -> list[dict[str, Any]]:
    """Find the worst regressions: on each task's primary metric the worst item, then the next, to ten.

    Args:
        scores: of base, stages and controls; the last stage is the adapted model.
        metrics: the entries of report.json.
        suites: what was asked.

    Returns:
        `{"task", "metric", "group", "question", "options", "answer", "base", "adapted"}`, the last two with
        `score` and `output`: the answer, or the option that was chosen.
    """
    adapted = find_adapted(scores)
    figures: dict[tuple[str, str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        if score.status == "scored":
            figures[score.suite, score.task, score.metric, score.stage][score.item_id] = score
    found: list[list[tuple[Score, Score]]] = []
    for entry in (entry for entry in metrics if entry["primary"]):
        key = (entry["suite"], entry["task"], entry["metric"])
        before, after = (figures[*key, stage] for stage in (BASE, adapted))
        losses = {item: _lose(before[item], after[item], entry) for item in before.keys() & after.keys()}
        worst = sorted(losses, key=lambda item: (losses[item], item), reverse=True)[:NUM_SHOWN]
        found.append([(before[item], after[item]) for item in worst if losses[item] > (0.0, 0.0)])
    rows = [pair for pair in chain.from_iterable(zip_longest(*found)) if pair][:NUM_SHOWN]
    wanted = {(score.task, score.item_id) for score, _ in rows}
    shown = {(task, item): text for suite in suites for task, item, text in suite.show_items(wanted)}
    return [_describe(shown[score.task, score.item_id], score, other) for score, other in rows]


def find_adapted(scores: Sequence[Score]) -> str:
    """Name the last stage of the scores, controls apart: the base where nothing else was measured."""
    return next((s.stage for s in reversed(scores) if not is_control(s.stage)), BASE)


def _describe(shown: Shown, before: Score, after: Score) -> dict[str, Any]:
    base, adapted = (
        {"score": score.score, "output": shown.read(score.output or "")} for score in (before, after)
    )
    return {
        "task": before.task,
        "metric": before.metric,
        "group": before.group,
        "question": shown.question,
        "options": list(shown.options),
        "answer": shown.answer,
        "base": base,
        "adapted": adapted,
    }


def _lose(before: Score, after: Score, entry: Mapping[str, Any]) -> tuple[float, float]:
    """Say how much worse an item's score is, and, where that is equal, its log-prob."""
    sign = 1.0 if entry["higher_is_better"] else -1.0
    loss = sign * ((before.score or 0.0) - (after.score or 0.0))
    return loss, ((before.log_prob or 0.0) - (after.log_prob or 0.0) if loss > 0 else 0.0)
