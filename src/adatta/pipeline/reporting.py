"""Gather what a report is made from: records, metrics, answers and curves of a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import Artefact
from adatta.core.events import read_metrics
from adatta.core.records import BASE
from adatta.pipeline.context import Context
from adatta.pipeline.plan import TRAINING
from adatta.pipeline.report import ReportInputs

if TYPE_CHECKING:
    from adatta.core.records import Score


def gather(context: Context, done: Mapping[str, Artefact]) -> ReportInputs:
    """Collect the inputs of a chain's report.

    Args:
        context: the run.
        done: its artefacts, by stage name, in order.

    Returns:
        Everything that the report shows.
    """
    scores = [score for artefact in done.values() for score in _scores(artefact)]
    metrics, controls = compare_all(scores)
    return ReportInputs(
        name=context.recipe.name,
        recipe=context.recipe.model_dump(mode="json", by_alias=True),
        records=[artefact.record for artefact in done.values()],
        metrics=metrics,
        controls=controls,
        overlap=context.overlap,
        answers=free_answers(scores),
        curves={
            name: read_metrics(artefact.folder / "metrics.jsonl")
            for name, artefact in done.items()
            if artefact.record["kind"] in TRAINING
        },
        versions=next(iter(done.values())).record["packages"] if done else {},
        exported={
            f"{artefact.folder.name}/{path}": size
            for artefact in done.values()
            for path, size in artefact.record["results"].get("exported", {}).items()
        },
        command=f"adatta run {context.path}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def compare_all(
    scores: Sequence[Score],
) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Compare every model of the scores with the base, and the chain's last one with each control.

    Args:
        scores: of base, stages and controls.

    Returns:
        The `metrics` of report.json, empty without scores; and the same by control, on what it was asked,
        the control in the place of the base.
    """
    from adatta.evals.ask import CONTROL_PREFIX
    from adatta.evals.compare import compare

    names = dict.fromkeys(score.stage for score in scores)
    stages = [name for name in names if name != BASE and not name.startswith(CONTROL_PREFIX)]
    scored = {score.stage for score in scores if score.status == "scored"}
    controls = [name for name in names if name.startswith(CONTROL_PREFIX) and name in scored and stages]
    return compare(scores, base_stage=BASE, stages=stages) if scores else [], {
        name: compare(scores, base_stage=name, stages=stages[-1:]) for name in controls
    }


def free_answers(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Put the free answers of all models side by side.

    Args:
        scores: with the answers' text as `output`.

    Returns:
        `{"prompt", "topic", "answers": {stage: text}}`, in the order of the fixed list.
    """
    from adatta.evals.suite import AnswerTask, load_suite

    answers: dict[str, dict[str, str]] = {}
    suites: dict[str, None] = {}
    for score in scores:
        if score.output is not None and score.metric == "language_fidelity":
            answers.setdefault(score.item_id, {})[score.stage] = score.output
            suites[score.suite] = None
    rows = []
    for name in suites:
        suite = load_suite(name)
        items = suite.items()
        for task in suite.tasks:
            if isinstance(task.task, AnswerTask):
                rows += [
                    {
                        "prompt": task.task.prompt(item),
                        "topic": item.fields.get("topic", ""),
                        "answers": answers[item.item_id],
                    }
                    for item in items[task.name]
                    if item.item_id in answers
                ]
    return rows


def _scores(artefact: Artefact) -> list[Score]:
    if artefact.record["kind"] != "evaluate":
        return []
    from adatta.evals.scores import read_scores

    return read_scores(artefact.folder / "scores.parquet")
