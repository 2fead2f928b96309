"""The plan of a recipe: its stages in order, each with the fingerprint of all that decides it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from adatta.core.artefact import Artefact, find_complete
from adatta.core.fingerprint import fingerprint, hash_file
from adatta.core.recipe import Recipe, Stage
from adatta.core.records import BASE
from adatta.core.settings import VERSIONS, TrainSettings

TRAINING = ("sft", "dpo", "adapt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What enters the fingerprints from outside the recipe, by content.

    `base` is the base model's fingerprint, `others` those of the other models by name, `template` the hash
    of the base's template with the system prompt, `data` maps a training stage's name to the hashes of its
    files, `suites` an evaluate stage's name to the hashes of its suites by their names.
    """

    base: str
    others: Mapping[str, str]
    template: str
    data: Mapping[str, tuple[str, ...]]
    suites: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """A stage with its place, identity and, when it was done before, its artefact.

    One that `is_open` is done again: a benchmark failed in it, or, of a report, in an evaluation before it.
    """

    number: int
    stage: Stage
    fingerprint: str
    parents: tuple[str, ...]
    model_in: str
    artefact: Artefact | None
    is_open: bool = False

    @property
    def name(self) -> str:
        """The stage's name in the recipe: its kind, with a number from the second on."""
        return self.stage.name

    @property
    def kind(self) -> str:
        """One of sft, dpo, adapt, evaluate, export, report."""
        return self.stage.kind


def plan_stages(recipe: Recipe, inputs: Inputs, run_dir: Path) -> tuple[PlannedStage, ...]:
    """Give each stage its fingerprint and find what is complete already.

    Args:
        recipe: the recipe, with `precision` resolved.
        inputs: the content that the stages read.
        run_dir: the run's folder, which may not exist yet.

    Returns:
        The stages in order.
    """
    models = {**inputs.others, BASE: inputs.base}
    current = BASE
    done: list[str] = []
    planned: list[PlannedStage] = []
    for number, stage in enumerate(recipe.stages, start=1):
        parents, identity = _identity(stage, recipe, inputs, models, current, done)
        mark = fingerprint({"kind": stage.kind, "version": VERSIONS[stage.kind], **identity})
        made = find_complete(run_dir, kind=stage.kind, fingerprint=mark)
        told = made.record["results"].get("benchmarks", {}) if made else {}
        is_open = any(map(has_failed, told.values()))
        if made and stage.kind == "report":  # made before an evaluation that was, or is to be, done again
            before = (each.artefact for each in planned if each.kind == "evaluate")
            is_open = any(one is None or one.record["created"] > made.record["created"] for one in before)
        planned.append(
            PlannedStage(
                number=number,
                stage=stage,
                fingerprint=mark,
                parents=parents,
                model_in=current,
                artefact=None if is_open else made,
                is_open=is_open,
            )
        )
        done.append(mark)
        if stage.kind in TRAINING:
            models[stage.name], current = mark, stage.name
    return tuple(planned)


def has_failed(benchmarks: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a benchmark failed for a model: it is tried again by the next run.

    Args:
        benchmarks: what the record tells of each.
    """
    return any(entry["status"] == "failed" for entry in benchmarks)


def evaluated_models(stage: Stage, recipe: Recipe) -> tuple[str, ...]:
    """Name the models that an evaluate stage measures: base, others, the stages it lists or all before it.

    Args:
        stage: an evaluate stage of the recipe.
        recipe: the recipe it stands in.

    Returns:
        Their names, the base first; the last one is what the others lead to.
    """
    before = recipe.stages[: recipe.stages.index(stage)]
    trained = (other.name for other in before if other.kind in TRAINING)
    listed = stage.evaluation.models or (BASE, *trained)
    return (BASE, *stage.evaluation.others, *(name for name in listed if name != BASE))


def list_evaluated(recipe: Recipe) -> list[str]:
    """Name every model that an evaluate stage of a recipe measures, each once."""
    asked = (evaluated_models(stage, recipe) for stage in recipe.stages if stage.kind == "evaluate")
    return list(dict.fromkeys(chain.from_iterable(asked)))


def protocol(recipe: Recipe, inputs: Inputs, stage: Stage) -> dict[str, Any]:
    """Collect what decides a model's scores, the model apart: two models with one protocol are comparable.

    Args:
        recipe: the recipe, with `precision` resolved.
        inputs: the content that the stages read.
        stage: an evaluate stage.

    Returns:
        A mapping with a stable form.
    """
    return {
        "version": VERSIONS["evaluate"],
        "suites": dict(inputs.suites[stage.name]),
        "max_new_tokens": stage.evaluation.max_new_tokens,
        "protocols": list(stage.evaluation.protocols),
        "template": inputs.template,
        **{key: getattr(recipe, key) for key in ("language", "context", "precision", "engine", "seed")},
    }


def _identity(
    stage: Stage, recipe: Recipe, inputs: Inputs, models: Mapping[str, str], current: str, done: list[str]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the fingerprints that a stage stands on, and what identifies it beside its kind and version."""
    if isinstance(stage.settings, TrainSettings):
        settings = stage.settings.model_dump(mode="json")
        # Files and data sets enter by content.
        settings["data"] = [
            [source[key] for key in ("weight", "rows", "fields")] for source in settings["data"]
        ]
        settings["holdout"].pop("path", None)
        shared = {
            key: getattr(recipe, key)
            for key in ("seed", "context", "precision", "engine", "on_bad_row", "on_overlong", "language")
        }
        identity = {"settings": settings, "data": list(inputs.data[stage.name]), "template": inputs.template}
        return (models[current],), {**identity, **shared, "model": models[current]}
    if stage.kind == "evaluate":
        measured = {name: models[name] for name in evaluated_models(stage, recipe)}
        return tuple(measured.values()), {"protocol": protocol(recipe, inputs, stage), "models": measured}
    settings = stage.settings.model_dump(mode="json")
    if stage.kind == "export":
        if settings["importance"]:
            settings["importance"] = hash_file(settings["importance"])
        identity = {"settings": settings, "model": models[current], "template": inputs.template}
        return (models[current],), identity
    return tuple(done), {"settings": settings, "parents": done, "recipe": recipe.name}
