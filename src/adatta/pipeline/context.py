"""What a run knows before its first stage: recipe, base model, renderer, checked rows, plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from adatta.core.artefact import run_dir
from adatta.core.errors import DataError, ExportError, ModelError, Problem, RecipeError, RowError
from adatta.core.fingerprint import content_id
from adatta.core.problems import Problems
from adatta.core.recipe import LoadedRecipe, Recipe, Stage, load_recipe
from adatta.core.registry import list_names
from adatta.core.settings import EvaluateSettings, OptimizerSettings, StageEntry
from adatta.lang.profile import Profile, load_profile
from adatta.pipeline.overlap import SuiteOverlap
from adatta.pipeline.plan import TRAINING, Inputs, PlannedStage, plan_stages
from adatta.pipeline.prepare import ROW_KIND, StageRows, open_inputs, prepare_stage
from adatta.pipeline.suites import load_suites

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.data.turns import Mistake
    from adatta.evals.suite import Suite
    from adatta.model.files import ModelFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A run, ready to start: everything has been checked, nothing has been trained."""

    path: Path
    loaded: LoadedRecipe
    recipe: Recipe
    run_dir: Path
    base: ModelFiles
    chat: Chat
    profile: Profile
    rows: Mapping[str, StageRows]
    suites: Mapping[str, tuple[Suite, ...]]
    overlap: Mapping[str, Any]
    inputs: Inputs
    plan: tuple[PlannedStage, ...]


def open_context(path: Path, overrides: Sequence[str]) -> Context:
    """Load and check a recipe with all that it names: model, rows, suites.

    Args:
        path: the recipe.
        overrides: `path=value` settings from the command line.

    Returns:
        The context of the run.

    Raises:
        RecipeError: the recipe has mistakes, or names a model that can't be found, used or exported.
        DataError: rows have mistakes; those of all stages are reported at once.
        OverlapError: rows hold items of the suites, and the recipe says `error` for such rows.
    """
    from adatta.chat.render import Chat

    loaded = load_recipe(path, overrides)
    profile = load_profile(loaded.recipe.language)
    loaded = name_suites(loaded, profile)
    folder = run_dir(loaded.recipe.name)
    refuse_unknown_names(loaded)
    suites = load_suites(loaded.recipe)
    base = locate_base(loaded)
    recipe = resolve(loaded.recipe, folder)
    chat = Chat.load(base.folder, system_prompt=profile.system_prompt)
    refuse_unexportable(loaded, base, chat=chat)
    refuse_wrong_fields(loaded, loaded.recipe.stages)
    overlap = SuiteOverlap(chain.from_iterable(suites.values()))
    rows = prepare_all(recipe, chat, overlap=overlap)
    if recipe.on_overlap == "error":
        overlap.require_none()
    inputs = Inputs(
        base=base.fingerprint,
        template=content_id(chat.exported_template()),
        data={name: prepared.data_hashes() for name, prepared in rows.items()},
        suites={
            stage: {suite.name: suite.content_hash() for suite in named} for stage, named in suites.items()
        },
    )
    return Context(
        path=path,
        loaded=loaded,
        recipe=recipe,
        run_dir=folder,
        base=base,
        chat=chat,
        profile=profile,
        rows=rows,
        suites=suites,
        overlap=overlap.summary(),
        inputs=inputs,
        plan=plan_stages(recipe, inputs, folder),
    )


def name_suites(loaded: LoadedRecipe, profile: Profile) -> LoadedRecipe:
    """Give evaluate stages that name no suites those of the language.

    Args:
        loaded: the recipe.
        profile: of its language.

    Returns:
        The recipe with every suite named.

    Raises:
        RecipeError: such a stage is there, and the language has none.
    """
    entries = list(loaded.recipe.entries)
    for number, stage in enumerate(loaded.recipe.stages):
        settings = stage.settings
        if not isinstance(settings, EvaluateSettings) or "suites" in settings.model_fields_set:
            continue
        path = f"stages.{number}.evaluate.suites"
        if not profile.suites:
            what = f"{profile.english_name} has no suites of its own"
            raise RecipeError(_place(loaded, path, what, "name one or more"))
        entries[number] = StageEntry(evaluate=settings.model_copy(update={"suites": profile.suites}))
    recipe = loaded.recipe.model_copy(update={"entries": tuple(entries)})
    return replace(loaded, recipe=recipe, resolved=recipe.model_dump(mode="json"))


def resolve(recipe: Recipe, folder: Path) -> Recipe:
    """Replace `precision: auto` once, when the run is made; afterwards its own recipe says what it was.

    `engine: auto` stays: each stage chooses for its model, and its record says what. Runs of earlier versions
    named one engine for all.

    Args:
        recipe: as loaded.
        folder: the run's folder.

    Returns:
        The recipe with a named precision.
    """
    from adatta.model.precision import resolve_precision

    before = folder / "recipe.yaml"
    earlier = YAML(typ="safe", pure=True).load(before) if before.exists() else {}
    changes = {}
    if recipe.precision == "auto":
        changes["precision"] = earlier.get("precision") or resolve_precision("auto")
    if recipe.engine == "auto":
        changes["engine"] = earlier.get("engine") or "auto"
    return recipe.model_copy(update=changes)


def prepare_all(recipe: Recipe, chat: Chat, *, overlap: SuiteOverlap | None = None) -> dict[str, StageRows]:
    """Prepare the rows of every training stage and report the mistakes of all of them at once.

    Args:
        recipe: the recipe.
        chat: the one renderer of the chain.
        overlap: looks at each good row.

    Returns:
        The rows by stage name.

    Raises:
        RowError: rows of one or more stages are wrong.
    """
    rows: dict[str, StageRows] = {}
    problems: list[Problem] = []
    counts: Counter[str] = Counter()
    for stage in (stage for stage in recipe.stages if stage.kind in TRAINING):
        try:
            rows[stage.name] = prepare_stage(stage, recipe, chat, overlap=overlap)
        except DataError as error:
            problems += error.problems
            counts.update(error.counts if isinstance(error, RowError) else {})
    if problems:
        raise RowError(tuple(dict.fromkeys(problems)), counts=counts)
    return rows


def refuse_unknown_names(loaded: LoadedRecipe) -> None:
    """Tell suites and export formats that don't exist, and optimizers that this machine can't run.

    Args:
        loaded: the recipe.

    Raises:
        RecipeError: naming each of them.
    """
    problems = []
    for key, package in (("suites", "adatta.evals.suites"), ("formats", "adatta.export.formats")):
        known = list_names(package)
        unknown = {path: name for path, name in _names(loaded, key) if name not in known}
        for path, name in unknown.items():
            problems.append(_place(loaded, path, f"there is no '{name}'", f"there are: {', '.join(known)}"))
    problems += _unusable_optimizers(loaded)
    if problems:
        raise RecipeError(problems)


def refuse_wrong_fields(loaded: LoadedRecipe, stages: Sequence[Stage]) -> None:
    """Tell the names in field maps that are wrong for every row of their source, once each.

    Args:
        loaded: the recipe.
        stages: those of its stages that are looked at.

    Raises:
        RecipeError: naming each of them, at the recipe's line.
    """
    problems = [
        _place(loaded, path, mistake.what, mistake.hint)
        for number, stage in enumerate(loaded.recipe.stages)
        if stage in stages and stage.kind in TRAINING
        for path, mistake in _wrong_fields(stage, f"stages.{number}.{stage.kind}.data")
    ]
    if problems:
        raise RecipeError(problems)


def _wrong_fields(stage: Stage, place: str) -> Iterator[tuple[str, Mistake]]:
    from adatta.data.field_map import find_wrong_names

    for number, source in enumerate(stage.training.data):
        unread = Problems()
        inputs = open_inputs(source, unread, damaged=unread, tolerant=True) if source.fields else ()
        records = (record for given in inputs for record in given.records)
        with suppress(DataError):  # of a source that can't be reached: told when its rows are checked
            for mistake in find_wrong_names(source.fields, ROW_KIND[stage.kind], records=records):
                yield f"{place}.{number}.fields.{mistake.field}", mistake


def _unusable_optimizers(loaded: LoadedRecipe) -> Iterator[Problem]:
    for number, stage in enumerate(loaded.recipe.stages):
        optimizer = getattr(stage.settings, "optimizer", OptimizerSettings())
        if optimizer.name == "adamw":  # runs everywhere, and is told so without torch
            continue
        from adatta.train.optimizer import refuse_optimizer

        try:
            refuse_optimizer(optimizer)
        except RecipeError as error:
            yield _place(loaded, f"stages.{number}.{stage.kind}.optimizer.name", str(error))


def _names(loaded: LoadedRecipe, key: str) -> Iterator[tuple[str, str]]:
    """Yield each name in a list of every stage, such as its formats, after its path in the recipe."""
    for number, stage in enumerate(loaded.recipe.stages):
        for place, name in enumerate(getattr(stage.settings, key, ())):
            yield f"stages.{number}.{stage.kind}.{key}.{place}", name


def _place(loaded: LoadedRecipe, path: str, what: str, hint: str = "") -> Problem:
    return Problem(where=loaded.sources.get(path, path), what=f"{path}: {what}", hint=hint)


def locate_base(loaded: LoadedRecipe) -> ModelFiles:
    """Find the base model.

    Args:
        loaded: the recipe.

    Returns:
        The model's files.

    Raises:
        RecipeError: it can't be found or used; this is told at the recipe's line.
    """
    from adatta.model.files import locate

    settings = loaded.recipe.model
    try:
        base = locate(settings.name, settings.revision)
        if base.adapter is not None:
            from adatta.model.load import fetch

            base = fetch(settings.name, settings.revision)
    except ModelError as error:
        raise RecipeError(_place(loaded, "model.name", str(error))) from error
    return base


def refuse_unexportable(loaded: LoadedRecipe, base: ModelFiles, *, chat: Chat) -> None:
    """Tell before training what an export would refuse after it.

    Args:
        loaded: the recipe.
        base: the model that the chain starts from.
        chat: its renderer.

    Raises:
        RecipeError: a format is asked for that this model can't be written in.
    """
    wanted = {path: name for path, name in _names(loaded, "formats") if name.startswith("gguf-")}
    if not wanted:
        return
    from adatta.export.gguf_writer import check_folder

    try:
        check_folder(base.folder, stop_ids=chat.stop_ids)
    except ExportError as error:
        problems = [_place(loaded, path, f"{name}: {error}") for path, name in wanted.items()]
        raise RecipeError(problems) from error
