"""Measure named models on a suite and compare them with the first one, without a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import run_dir, write_json
from adatta.core.errors import RecipeError
from adatta.core.lock import run_lock
from adatta.core.records import BASE
from adatta.lang.profile import Profile, load_profile

if TYPE_CHECKING:
    from adatta.core.records import Score
    from adatta.evals.ask import Subject


def compare_models(
    models: Sequence[str],
    *,
    suite: str,
    language: str,
    context: int,
    precision: str,
    max_new_tokens: int,
    name: str,
) -> list[dict[str, Any]]:
    """Measure every model on the same items and print each figure beside the base's, with intervals.

    Args:
        models: their names, the base first.
        suite: what they are asked.
        language: tag of the profile.
        context: longest input, in tokens.
        precision: `fp32`, `bf16` or `auto`.
        max_new_tokens: longest free answer, in tokens.
        name: of the run.

    Returns:
        The metrics, as in report.json; they and all scores are written to `runs/<name>`.

    Raises:
        RecipeError: a model is named twice, or the precision is unknown.
        ModelError: a model can't be found or used.
    """
    from adatta.chat.render import Chat
    from adatta.evals.ask import Limits
    from adatta.evals.compare import compare
    from adatta.evals.runner import evaluate_model, pick_engine
    from adatta.evals.scores import write_scores
    from adatta.evals.suite import load_suite
    from adatta.model.generate import generate_greedy
    from adatta.model.load import fetch, load_model
    from adatta.model.precision import resolve_precision

    if len(set(models)) < len(models):
        raise RecipeError("a model is named twice; name each once, the base first")
    if precision not in ("fp32", "bf16", "auto"):
        raise RecipeError(f"unknown precision {precision!r}; there are: fp32, bf16, auto")
    stages, profile = [BASE, *models[1:]], load_profile(language)
    asked, limits = load_suite(suite), Limits(context=context, max_new_tokens=max_new_tokens)
    scores: list[Score] = []
    for stage, files in zip(stages, map(fetch, models), strict=True):
        model = load_model(files.folder, resolve_precision(precision))
        plain_chat = Chat.load(files.folder)
        engine = pick_engine(model, plain_chat, engine="auto")
        for subject in list_subjects(stage, files.fingerprint, profile=profile):
            prompt = profile.system_prompt
            chat = Chat.load(files.folder, system_prompt=prompt) if subject.opening else plain_chat
            scores += evaluate_model(
                model,
                chat,
                suite=asked,
                subject=subject,
                limits=limits,
                generate=generate_greedy,
                engine=engine,
            )
    metrics = compare(scores, base_stage=BASE, stages=stages[1:])
    folder = run_dir(name)
    with run_lock(folder):
        write_scores(folder / "scores.parquet", scores)
        write_json(folder / "metrics.json", {"schema": 1, "models": list(models), "metrics": metrics})
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


def list_subjects(stage: str, mark: str, *, profile: Profile) -> list[Subject]:
    """List the rows of the table that a model fills: its own, and for the base the controls.

    Args:
        stage: `base`, or the name of another model.
        mark: the model's fingerprint.
        profile: of the language.
    """
    from adatta.evals.ask import list_controls, make_subject

    rows = [stage, *(list_controls(profile) if stage == BASE else ())]
    return [make_subject(row, mark, profile) for row in rows]
