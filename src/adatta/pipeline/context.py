"""What a run knows before its first stage: recipe, base model, renderer, checked rows, plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from adatta.core.artefact import run_dir
from adatta.core.errors import ExportError, ModelError, Problem, RecipeError
from adatta.core.fingerprint import content_id
from adatta.core.problems import Checks
from adatta.core.recipe import LoadedRecipe, Recipe, Stage, load_recipe
from adatta.core.registry import list_names, load_registry
from adatta.core.settings import EvaluateSettings, ModelSettings, OptimizerSettings, StageEntry, TrainSettings
from adatta.lang.profile import Profile, load_profile
from adatta.pipeline.overlap import SuiteOverlap
from adatta.pipeline.plan import TRAINING, Inputs, PlannedStage, plan_stages
from adatta.pipeline.prepare import StageRows, prepare_stage
from adatta.pipeline.sources import find_wrong, read_structure
from adatta.pipeline.suites import is_suite, list_suites, load_suites

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.evals.harness_run import Benchmarks
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
    others: Mapping[str, ModelFiles]
    chat: Chat
    profile: Profile
    rows: Mapping[str, StageRows]
    suites: Mapping[str, tuple[Suite | Benchmarks, ...]]
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
        DataError: rows have mistakes, or hold what a suite asks; all mistakes are told at once.
        UserError: something else has mistakes, such as a model that can't be found, used or exported.
    """
    checks = Checks(is_quiet=True)
    loaded = load(path, overrides, checks=checks)
    if loaded is None:
        raise checks.error()
    folder = run_dir(loaded.recipe.name)
    base = checks.attempt("model", lambda: find_model(loaded, "model.name", settings=loaded.recipe.model))
    others = dict(find_others(loaded, checks=checks))
    chat = open_chat(loaded, base, checks=checks) if base else None
    recipe = resolve(loaded.recipe, folder) if base else loaded.recipe
    suites = load_suites(loaded, checks=checks)
    overlap = checks.attempt("suites", lambda: SuiteOverlap(chain.from_iterable(suites.values())))
    rows = dict(read_rows(loaded, chat=chat, overlap=overlap, checks=checks))
    if overlap and recipe.on_overlap == "error":
        checks.attempt("overlap", overlap.require_none)
    if checks.problems or not (base and chat and overlap):
        raise checks.error()
    inputs = Inputs(
        base=base.fingerprint,
        others={name: files.fingerprint for name, files in others.items()},
        template=content_id(chat.exported_template() if chat.template else None),
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
        others=others,
        chat=chat,
        profile=load_profile(recipe.language),
        rows=rows,
        suites=suites,
        overlap=overlap.summary(),
        inputs=inputs,
        plan=plan_stages(recipe, inputs, folder),
    )


def load(path: Path, overrides: Sequence[str], *, checks: Checks) -> LoadedRecipe | None:
    """Load a recipe with its suites named, and look at the names in it.

    Args:
        path: the recipe.
        overrides: `path=value` settings from the command line.
        checks: takes every mistake.

    Returns:
        The recipe; None where it can't be understood.
    """
    loaded = checks.attempt("recipe", lambda: load_recipe(path, overrides))
    if loaded is None:
        return None
    named = checks.attempt("recipe", lambda: name_suites(loaded, load_profile(loaded.recipe.language)))
    checks.attempt("recipe", lambda: refuse_unknown_names(named or loaded))
    return named or loaded


def open_chat(loaded: LoadedRecipe, base: ModelFiles, *, checks: Checks) -> Chat | None:
    """Load the chain's one renderer and look whether what it makes can be exported.

    Args:
        loaded: the recipe.
        base: the model that the chain starts from.
        checks: takes every mistake.
    """
    from adatta.chat.render import Chat

    prompt = load_profile(loaded.recipe.language).system_prompt
    chat = checks.attempt("template", lambda: Chat.load(base.folder, system_prompt=prompt))
    if chat:
        checks.attempt("export", lambda: refuse_unexportable(loaded, base, chat=chat))
    return chat


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
            raise RecipeError(loaded.problem(path, what, hint="name one or more"))
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
    from adatta.model.precision import choose_precision

    before = folder / "recipe.yaml"
    earlier = YAML(typ="safe", pure=True).load(before) if before.exists() else {}
    changes = {}
    if recipe.precision == "auto":
        changes["precision"] = earlier.get("precision") or choose_precision()
    if recipe.engine == "auto":
        changes["engine"] = earlier.get("engine") or "auto"
    return recipe.model_copy(update=changes)


def read_rows(
    loaded: LoadedRecipe, *, chat: Chat | None, overlap: SuiteOverlap | None, checks: Checks
) -> Iterator[tuple[str, StageRows]]:
    """Prepare the rows of each training stage; without a renderer, look at their structure.

    Args:
        loaded: the recipe.
        chat: the one renderer of the chain.
        overlap: looks at each good row.
        checks: takes every mistake.

    Yields:
        Name and rows of each stage whose rows are right, before those of the next one are read.
    """

    def read(stage: Stage) -> StageRows | None:
        wrong = find_wrong(loaded, stage)
        if chat is not None:
            return prepare_stage(stage, loaded.recipe, chat, overlap=overlap, wrong=wrong)
        is_strict = loaded.recipe.on_bad_row == "error"
        num = sum(1 for _ in read_structure(stage, is_strict=is_strict, wrong=wrong))
        text = f"{num} of right structure; more needs the model's tokens"
        checks.add(f"rows of {stage.name}", text, verdict="WARN")
        return None

    for stage in (stage for stage in loaded.recipe.stages if stage.kind in TRAINING):
        if rows := checks.attempt(f"rows of {stage.name}", partial(read, stage)):
            yield stage.name, rows


def refuse_unknown_names(loaded: LoadedRecipe) -> None:
    """Tell suites and formats that don't exist, names that are taken, optimizers that can't run here.

    Args:
        loaded: the recipe.

    Raises:
        RecipeError: naming each of them.
    """
    problems = []
    for key, known in (("suites", list_suites()), ("formats", list_names("adatta.export.formats"))):
        hint = f"there are: {', '.join(known)}"
        for path, name in _names(loaded, key):
            what, help_ = loaded.missing.get(path, (f"there is no '{name}'", hint))
            if name not in known and not (key == "suites" and is_suite(name)):
                problems.append(loaded.problem(path, what, hint=help_))
    problems += [*_taken_names(loaded), *_missing_folders(loaded), *_unusable_optimizers(loaded)]
    if problems:
        raise RecipeError(problems)


def _taken_names(loaded: LoadedRecipe) -> Iterator[Problem]:
    """Tell texts that are called as a task of a suite: the report would take both for one."""
    names = {name for _, name in _names(loaded, "suites")}
    suites = (suite for suite in load_registry("adatta.evals.suites").values() if suite.name in names)
    taken = {task.name: suite.name for suite in suites for task in suite.tasks}
    for path, name in _names(loaded, "texts"):
        if name in taken:
            what = f"a task of suite {taken[name]} is called so"
            yield loaded.problem(f"{path.rpartition('.')[0]}.{name}", what, hint="choose another name")


def _missing_folders(loaded: LoadedRecipe) -> Iterator[Problem]:
    for number, stage in enumerate(loaded.recipe.stages):
        given = getattr(stage.settings, "data_dir", None)
        if given and not Path(given).is_dir():
            what, hint = f"there is no folder {given}", "give the folder of the releases, or leave it out"
            yield loaded.problem(f"stages.{number}.evaluate.data_dir", what, hint=hint)
    for path, (what, hint) in loaded.missing.items():
        if path.endswith(".importance"):
            yield loaded.problem(path, what, hint=hint)


def _unusable_optimizers(loaded: LoadedRecipe) -> Iterator[Problem]:
    for number, stage in enumerate(loaded.recipe.stages):
        optimizer = getattr(stage.settings, "optimizer", OptimizerSettings())
        if optimizer.name == "adamw":  # runs everywhere, and is told so without torch
            continue
        from adatta.train.optimizer import refuse_optimizer

        try:
            refuse_optimizer(optimizer)
        except RecipeError as error:
            yield loaded.problem(f"stages.{number}.{stage.kind}.optimizer.name", str(error))


def _names(loaded: LoadedRecipe, key: str) -> Iterator[tuple[str, str]]:
    """Yield each name in a list of every stage, such as its formats, after its path in the recipe."""
    for number, stage in enumerate(loaded.recipe.stages):
        for place, name in enumerate(getattr(stage.settings, key, ())):
            yield f"stages.{number}.{stage.kind}.{key}.{place}", name


def find_others(loaded: LoadedRecipe, *, checks: Checks) -> Iterator[tuple[str, ModelFiles]]:
    """Find the other models that evaluate stages name.

    Args:
        loaded: the recipe.
        checks: takes every mistake.

    Yields:
        Name and files of each that can be used.
    """
    for number, stage in enumerate(loaded.recipe.stages):
        for name, model in getattr(stage.settings, "others", {}).items():
            path = f"stages.{number}.evaluate.others.{name}"
            find = partial(find_model, loaded, path, settings=ModelSettings(name=model))
            if files := checks.attempt(f"model {name}", find):
                yield name, files


def find_model(loaded: LoadedRecipe, path: str, *, settings: ModelSettings) -> ModelFiles:
    """Find a model that the recipe names.

    Args:
        loaded: the recipe.
        path: where it names it, such as `model.name`.
        settings: its name and revision.

    Returns:
        The model's files.

    Raises:
        RecipeError: it can't be found or used; this is told at the recipe's line.
    """
    from adatta.model.files import locate

    try:
        files = locate(settings.name, settings.revision)
        if files.parts is not None:
            from adatta.model.load import fetch

            files = fetch(settings.name, settings.revision)
    except ModelError as error:
        raise RecipeError(loaded.problem(path, str(error))) from error
    return files


def refuse_unexportable(loaded: LoadedRecipe, base: ModelFiles, *, chat: Chat) -> None:
    """Tell before training what an export would refuse after it.

    Args:
        loaded: the recipe.
        base: the model that the chain starts from.
        chat: its renderer.

    Raises:
        RecipeError: a format is asked for that this model, or what this chain makes of it, can't have.
    """
    wanted = dict(_names(loaded, "formats"))
    if wanted and chat.template is None:
        what, hint = "the model has no chat template to ship", "leave the stage export out"
        raise RecipeError([loaded.problem(path, what, hint=hint) for path in wanted])
    problems = []
    if any(name.startswith("gguf-") for name in wanted.values()):
        from adatta.export.gguf_writer import check_folder

        try:
            check_folder(base.folder, chat=chat)
        except ExportError as error:
            told = ((path, name) for path, name in wanted.items() if name.startswith("gguf-"))
            problems += [loaded.problem(path, f"{name}: {error}") for path, name in told]
    trained = [stage for stage in loaded.recipe.stages if stage.kind in TRAINING]
    unfit = [stage.name for stage in trained if not _is_low_rank(stage.training)]
    for path in (path for path, name in wanted.items() if name == "adapter" and (unfit or not trained)):
        what = f"{', '.join(unfit)} change{'s' * (len(unfit) == 1)} more" if unfit else "no stage trains one"
        hint = "an adapter is what lora or qlora learn, without dora and also, merged into the full base"
        problems.append(loaded.problem(path, f"adapter: {what}", hint=hint))
    if problems:
        raise RecipeError(problems)


def _is_low_rank(settings: TrainSettings) -> bool:
    """Say whether all that a stage changes is a sum of low-rank updates."""
    is_plain = not (settings.adapter.dora or settings.adapter.also)
    return settings.method != "full" and settings.merge.into != "dequantised" and is_plain
