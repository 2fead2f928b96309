"""Figures beside the comparison: what was forgotten in other languages, and how sure answers are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adatta.core.records import BASE
from adatta.pipeline.regressions import find_adapted

if TYPE_CHECKING:
    from adatta.core.records import Score
    from adatta.evals.harness_run import Benchmarks
    from adatta.evals.suite import Suite

    Suites = Iterable[Suite | Benchmarks]


def find_forgetting(
    scores: Sequence[Score], *, metrics: Sequence[Mapping[str, Any]], suites: Suites, language: str
) -> list[dict[str, Any]]:
    """Measure what the adapted model lost on multiple choice in other languages.

    Args:
        scores: of base, stages and controls; the last stage is the adapted model.
        metrics: the entries of report.json, with their margins.
        suites: what was asked.
        language: of the recipe.

    Returns:
        As `measure_forgetting`, one entry a task.
    """
    from adatta.evals.forgetting import measure_forgetting

    adapted = find_adapted(scores)
    rows: dict[tuple[str, str, str, str], list[Score]] = defaultdict(list)
    for score in scores:
        rows[score.suite, score.task, score.metric, score.stage].append(score)
    chances = dict(_list_chances(suites))
    return [
        measure_forgetting(
            *(rows[entry["suite"], entry["task"], entry["metric"], stage] for stage in (BASE, adapted)),
            chance=chances[entry["task"]],
            margin=entry["margin"],
        )
        for entry in metrics
        if entry["primary"] and entry["language"] != language and entry["task"] in chances
        if adapted != BASE and entry["difference"]
    ]


def _list_chances(suites: Suites) -> Iterable[tuple[str, float]]:
    """Yield each task of multiple choice with what guessing gets."""
    from adatta.evals.suite import Suite
    from adatta.evals.tasks.multiple_choice import Choice

    for suite in suites:
        if not isinstance(suite, Suite):
            yield from ((found.task.name, found.task.chance) for found in suite.found() if found.task.chance)
            continue
        items = suite.items()
        for task in (task for task in suite.tasks if isinstance(task.task, Choice)):
            sizes = [len(item.fields["options"]) for item in items[task.name]]
            yield task.name, sum(1 / size for size in sizes) / len(sizes)
