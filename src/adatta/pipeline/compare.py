"""Measure named models on a suite and compare them with the first one, without a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import run_dir, write_json
from adatta.core.errors import RecipeError
from adatta.core.lock import run_lock
from adatta.lang.profile import load_profile
from adatta.pipeline.plan import BASE

if TYPE_CHECKING:
    from adatta.core.records import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """What `adatta eval` was asked: models (the base first), suite, language and limits in tokens."""

    models: tuple[str, ...]
    suite: str
    language: str
    context: int
    precision: str
    max_new_tokens: int
    name: str


def compare_models(request: EvalRequest) -> list[dict[str, Any]]:
    """Measure every model on the same items and print each figure beside the base's, with intervals.

    Args:
        request: models and protocol.

    Returns:
        The metrics, as in report.json; they and all scores are written to `runs/<name>`.

    Raises:
        RecipeError: a model is named twice, or the precision is unknown.
        ModelError: a model can't be found or used.
    """
    from adatta.evals.compare import compare
    from adatta.evals.scores import write_scores

    if len(set(request.models)) < len(request.models):
        raise RecipeError("a model is named twice; name each once, the base first")
    if request.precision not in ("fp32", "bf16", "auto"):
        raise RecipeError(f"unknown precision {request.precision!r}; there are: fp32, bf16, auto")
    names = [BASE, *request.models[1:]]
    scores: list[Score] = []
    for name, model in zip(names, request.models, strict=True):
        scores += _measure(model, name, request)
    metrics = compare(scores, base_stage=BASE, stages=names[1:])
    folder = run_dir(request.name)
    with run_lock(folder):
        write_scores(folder / "scores.parquet", scores)
        write_json(folder / "metrics.json", {"schema": 1, "models": list(request.models), "metrics": metrics})
    print("\n".join(table_lines(metrics)))
    print(f"scores: {folder / 'scores.parquet'}")
    return metrics


def table_lines(metrics: list[dict[str, Any]]) -> list[str]:
    """Write metrics as lines of text: base, then each model with its paired difference.

    Args:
        metrics: as in report.json.

    Returns:
        Lines of text.
    """
    lines = []
    for entry in metrics:
        arrow = "higher is better" if entry["higher_is_better"] else "lower is better"
        lines.append(f"{entry['task']} {entry['metric']} ({entry['unit']}, n = {entry['n']}, {arrow})")
        lines.append(f"    {BASE:<32} {_figure(entry['base'])}")
        for name, figure in entry["stages"].items():
            lines.append(f"    {name:<32} {_figure(figure)}   difference {_figure(figure.get('difference'))}")
    return lines


def _figure(figure: dict[str, Any] | None) -> str:
    if not figure or figure.get("value") is None:
        return "-"
    interval = figure.get("ci95")
    shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else " (no interval)"
    return f"{figure['value']:.3f}{shown}"


def _measure(name: str, stage: str, request: EvalRequest) -> list[Score]:
    from adatta.chat.render import Chat
    from adatta.evals.ask import CONTROL_1_SHOT, CONTROL_PLAIN, Limits, make_subject
    from adatta.evals.runner import evaluate_model
    from adatta.evals.suite import load_suite
    from adatta.model.generate import generate_greedy
    from adatta.model.load import fetch, load_model
    from adatta.model.precision import resolve_precision

    suite, profile = load_suite(request.suite), load_profile(request.language)
    files = fetch(name)
    model = load_model(files.folder, resolve_precision(request.precision))
    rows = [stage, *((CONTROL_PLAIN, CONTROL_1_SHOT) if stage == BASE else ())]
    scores = []
    for row in rows:
        prompt = None if row == CONTROL_PLAIN else profile.system_prompt
        scores += evaluate_model(
            model,
            Chat.load(files.folder, system_prompt=prompt),
            suite=suite,
            subject=make_subject(row, files.fingerprint, profile),
            limits=Limits(context=request.context, max_new_tokens=request.max_new_tokens),
            generate=generate_greedy,
        )
    return scores
