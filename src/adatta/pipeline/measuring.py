"""Measure and compare models by name, without a chain: what `adatta eval` and `adatta compare` do."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from adatta.core.artefact import read_artefact, read_current, run_dir
from adatta.core.errors import EvalError, RecipeError
from adatta.core.recipe import RUN_NAME
from adatta.core.records import BASE, is_control
from adatta.pipeline.numbers import show_plainly
from adatta.pipeline.regressions import find_adapted
from adatta.pipeline.run import run_recipe
from adatta.pipeline.verdict import judge

if TYPE_CHECKING:
    from adatta.core.records import Score

DISCORDANCE = (0.05, 0.1, 0.2)  # shares of items on which two models differ: an adapter's, a retraining's
EFFECT = 0.02


def evaluate_models(
    models: Sequence[str], *, suites: Sequence[str], overrides: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """Measure models on the same items, as a recipe of one evaluation and a report; what is done is reused.

    Args:
        models: their names: the base, the adapted model of the headline, others to stand beside them.
        suites: what they are asked; none for those of the language.
        overrides: `path=value` settings of the recipe, such as `precision=fp32`.
        name: of the run; the recipe is written to `runs/<name>/eval.yaml`.

    Returns:
        The metrics, as in report.json.

    Raises:
        UserError: a model is named twice or can't be used, a setting is wrong, or the run's name is taken.
    """
    twice = [model for model, num in Counter(map(_place_of, models)).items() if num > 1]
    if twice:
        raise RecipeError(f"{twice[0]} is named twice; name each model once, the base first")
    path = run_dir(name) / "eval.yaml"
    if not re.fullmatch(RUN_NAME, name):
        raise RecipeError(f"--name {name!r} can't name a run; give letters, digits, '.', '_' and '-'")
    if (run_dir(name) / "recipe.yaml").exists() and not path.exists():
        raise RecipeError(f"run {name} is another recipe's; give another --name")
    named = list(name_models(models[1:]).items())
    asked = {"suites": list(suites)} if suites else {}
    stages = [{"evaluate": {**asked, "others": dict([*named[1:], *named[:1]])}}, {"report": {}}]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        YAML().dump({"name": name, "model": {"name": models[0]}, "stages": stages}, file)
    report = run_recipe(path, overrides) / "report.json"
    found = json.loads(report.read_text(encoding="utf-8"))
    metrics: list[dict[str, Any]] = found["metrics"]
    print("\n".join(f"{short}: {model}" for short, model in [(BASE, models[0]), *named]))
    print("\n".join([*table_lines(metrics, base=BASE), found["verdict"]["headline"]]))
    return metrics


def _place_of(model: str) -> str:
    """Return the folder or file that a model's name stands for, or the name where there is neither."""
    places = (path.resolve() for path in (Path(model), run_dir(model)) if path.exists())
    return str(next(places, model))


def name_models(models: Sequence[str]) -> dict[str, str]:
    """Give each model a short name for tables: the last part of its own, with a number where that is taken.

    Example:
        >>> name_models(["hub/Modello-7B", "runs/demo", "altro/demo"])
        {'Modello-7B': 'hub/Modello-7B', 'demo': 'runs/demo', 'demo-2': 'altro/demo'}
    """
    named: dict[str, str] = {}
    for model in models:
        last = re.sub(r"[^A-Za-z0-9._-]", "-", model.rstrip("/").rpartition("/")[2]).removesuffix(".gguf")
        is_free = last[:1].isalpha() and last != BASE and not is_control(last)
        short = (last if is_free else f"model-{last}")[:56]
        numbered = (f"{short}-{number}" for number in count(2))
        named[next(name for name in chain([short], numbered) if name not in named)] = model
    return named


def compare_runs(first: str, second: str) -> list[dict[str, Any]]:
    """Compare the last models of two runs item by item, and print each figure with a verdict.

    Args:
        first: a run's name or folder, in the base's place.
        second: the other run's.

    Returns:
        The metrics, as in report.json, the first run's model as base.

    Raises:
        RecipeError: a run is unknown or has no evaluation, both are the same, or they were asked other items,
            in another way, or by another version of a suite.
    """
    from adatta.evals.compare import compare

    folders = [_run_folder(run) for run in (first, second)]
    if folders[0].resolve() == folders[1].resolve():
        raise RecipeError(f"{first} and {second} are one run; name two")
    names = [folder.name for folder in folders]
    names = [first, second] if names[0] == names[1] else names
    (ours, context), (theirs, other_context) = map(read_last_scores, folders)
    if context != other_context:
        raise RecipeError(f"{names[0]} was measured with context {context}, {names[1]} with {other_context}")
    scores = [replace(score, stage=names[0]) for score in ours]
    scores += [replace(score, stage=names[1]) for score in theirs]
    asked = [{(score.suite, score.task) for score in each} for each in (ours, theirs)]
    for name, more in zip(names, (asked[0] - asked[1], asked[1] - asked[0]), strict=True):
        if more:
            print(f"only {name} was asked: {', '.join(sorted(task for _, task in more))}")
    both = asked[0] & asked[1]
    if not both:
        raise RecipeError(f"{names[0]} and {names[1]} were asked nothing in common")
    scores = [score for score in scores if (score.suite, score.task) in both]
    try:
        metrics = compare(scores, base_stage=names[0], stages=names[1:])
    except EvalError as error:
        raise RecipeError(f"{names[0]} and {names[1]} can't be compared: {error}") from error
    judgement = judge(metrics, is_compared=True)
    sentences = (finding.sentence for finding in judgement.findings)
    print("\n".join([*table_lines(metrics, base=names[0]), *sentences, judgement.headline]))
    return metrics


def read_last_scores(folder: Path) -> tuple[list[Score], int]:
    """Read the scores of a run's last model: the adapted one, or the base where nothing else was measured.

    Args:
        folder: of the run.

    Returns:
        The scores, and the longest input that was asked, in tokens.

    Raises:
        RecipeError: there is no such run, or no complete evaluation in it.
    """
    from adatta.evals.scores import read_scores

    current = folder / "current.json"
    if not current.is_file():
        raise RecipeError(f"there is no complete run {folder.name} ({current} is missing); see adatta show")
    stages = [stage for stage in read_current(folder)["stages"] if stage["kind"] == "evaluate"]
    folders = [folder / stage["folder"] for stage in stages]
    if not folders:
        raise RecipeError(f"run {folder.name} has no evaluation; add a stage evaluate to its recipe")
    scores = [score for folder in folders for score in read_scores(folder / "scores.parquet")]
    adapted, record = find_adapted(scores), read_artefact(folders[-1]).record
    return [score for score in scores if score.stage == adapted], record["recipe"]["context"]


def plan_lines(suites: Sequence[str], *, data_dir: str | None = None, pilot: str = "") -> list[str]:
    """Say what differences the suites' items can show, before anything is measured.

    Args:
        suites: their names.
        data_dir: folder of the releases of public benchmarks.
        pilot: a run's name; where it compared models on right and wrong, their own share is used as well.

    Returns:
        Lines of a table: per task its items, the smallest difference that they show with 80% power for some
        shares of items on which the models differ, and how many items would show two points.
    """
    from adatta.evals.power import sample_size, smallest_effect

    shares = [f"{share:.0%} differ" for share in DISCORDANCE]
    differing = _read_pilot(pilot)
    lines = [
        "smallest difference of an accuracy that is shown (two-sided 5%, power 80%), in points, by the share",
        "of items that only one of the models gets right; the last line says how many items show 2 points",
        f"{'task':<24}{'n':>7}" + "".join(f"{share:>14}" for share in shares),
    ]
    for task, size in chain.from_iterable(_list_sizes(suite, data_dir) for suite in suites):
        effects = [100 * smallest_effect(share, size) for share in DISCORDANCE if isinstance(size, int)]
        line = f"{task:<24}{size:>7}" + "".join(f"{effect:>14.1f}" for effect in effects)
        if (share := differing.get(task)) and isinstance(size, int):
            line += f"   {100 * smallest_effect(share, size):.1f} ({share:.0%} differ in {pilot})"
        lines.append(line)
    sizes = [sample_size(share, EFFECT) for share in DISCORDANCE]
    return [*lines, f"{'2 points':<31}" + "".join(f"{f'n = {size:,}':>14}" for size in sizes)]


def _read_pilot(name: str) -> dict[str, float]:
    """Read, of a run's report, on which share of each task's items base and adapted model differ."""
    path = run_dir(name) / "report.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.is_file() else []
    differences = {entry["task"]: entry["difference"] or {} for entry in metrics if entry["primary"]}
    return {task: found["discordant"] for task, found in differences.items() if found.get("discordant")}


def _list_sizes(suite: str, data_dir: str | None) -> Iterator[tuple[str, int | str]]:
    """Yield each task of a suite with its number of items, or why it has none."""
    from adatta.evals.harness_file import open_suite
    from adatta.evals.harness_run import load_benchmarks
    from adatta.evals.harness_suite import list_harness_suites
    from adatta.evals.suite import load_suite
    from adatta.pipeline.suites import is_suite, list_suites

    if not is_suite(suite):
        raise RecipeError(f"unknown suite {suite!r}; there are: {', '.join(list_suites())}")
    if suite in list_suites() and suite not in list_harness_suites():
        yield from ((task, len(items)) for task, items in load_suite(suite).items().items())
        return
    folder = Path(data_dir) if data_dir else None
    for task, found in load_benchmarks(open_suite(suite), data_dir=folder).data.items():
        yield task, f"not run: {found}" if isinstance(found, str) else len(found.items)


def table_lines(metrics: Sequence[Mapping[str, Any]], *, base: str) -> list[str]:
    """Write metrics as lines of text: base, then each model with its paired difference.

    Args:
        metrics: as in report.json.
        base: what the base is called.
    """
    lines = ["95% intervals are unadjusted"]
    for entry in metrics:
        arrow = "higher is better" if entry["higher_is_better"] else "lower is better"
        lines.append(f"{entry['task']} {entry['metric']} ({entry['unit']}, n = {entry['n']}, {arrow})")
        lines.append(f"    {base:<32} {_figure(entry['base'])}")
        for name, figure in entry["stages"].items():
            lines.append(f"    {name:<32} {_figure(figure)}   difference {_figure(figure.get('difference'))}")
    return lines


def _figure(figure: Mapping[str, Any] | None) -> str:
    if not figure or figure.get("value") is None:
        return f"not run: {figure['not_run']}" if figure and "not_run" in figure else "-"
    return show_plainly(figure)


def _run_folder(run: str) -> Path:
    """Return a run's folder, which may be given by its name."""
    return Path(run) if (Path(run) / "current.json").is_file() else run_dir(run)
