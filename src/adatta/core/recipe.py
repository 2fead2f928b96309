"""The recipe: one strict, typed YAML file that says what is done; all its mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from glob import glob
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from adatta.core.errors import Problem, RecipeError
from adatta.core.recipe_problems import Mistake, explain, nearest
from adatta.core.records import is_control
from adatta.core.runtime import bundled_dir
from adatta.core.settings import (
    DpoSettings,
    EvaluateSettings,
    ExportSettings,
    Many,
    ModelSettings,
    ReportSettings,
    Settings,
    StageEntry,
    StageKind,
    StageSettings,
    TrainSettings,
)
from adatta.core.yaml_source import Marked, Place, dotted, leaves, parts, read_yaml, value_at

T = TypeVar("T")

_DATA_PATH = re.compile(
    r"stages\.\d+\.(\w+\.((data|holdout|texts)\.(.*\.)?path|suites\.\d+|data_dir)|export\.importance)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the chain; `name` is its kind, with `-2`, `-3` for the later ones of a kind."""

    kind: StageKind
    name: str
    settings: StageSettings

    @property
    def training(self) -> TrainSettings:
        """The settings of a training stage."""
        return self._as(TrainSettings)

    @property
    def evaluation(self) -> EvaluateSettings:
        """The settings of an evaluate stage."""
        return self._as(EvaluateSettings)

    @property
    def exporting(self) -> ExportSettings:
        """The settings of an export stage."""
        return self._as(ExportSettings)

    @property
    def reporting(self) -> ReportSettings:
        """The settings of a report stage."""
        return self._as(ReportSettings)

    def _as(self, kind: type[T]) -> T:
        if not isinstance(self.settings, kind):
            raise RecipeError(f"stage {self.name} has no {kind.__name__}; it is of kind {self.kind}")
        return self.settings


RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Recipe(Settings):
    """What is done, from which model, with which data; decides every fingerprint."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str = Field(pattern=RUN_NAME)
    """Name of the run: its folder is runs/NAME."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of everything that is drawn."""
    model: ModelSettings
    """The model that the chain starts from."""
    language: str = Field(default="it", min_length=2)
    """Tag of the language profile, such as it."""
    context: int = Field(default=1024, ge=8)
    """Longest row, in tokens."""
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    """Arithmetic; auto is measured once, when the run folder is made."""
    engine: Literal["auto", "forest", "fused", "plain"] = "auto"
    """How scores are computed; auto takes the fastest exact one."""
    on_bad_row: Literal["error", "quarantine"] = "error"
    """What happens to a row with a mistake."""
    on_overlap: Literal["error", "report"] = "error"
    """What happens when rows of training hold what a suite of the recipe asks."""
    max_bad_share: float = Field(default=0.05, ge=0, le=1)
    """Largest share of a stage's rows that may be quarantined; above it the run fails."""
    on_overlong: Literal["error", "quarantine", "split"] = "error"
    """What happens to a row longer than the context; split cuts texts, and conversations at turns."""
    entries: Many[StageEntry] = Field(default=(), alias="stages")
    """The stages, in order."""
    keep_merged: Literal["last", "all"] = "last"
    """Which merged models stay on disk."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The chain, each stage with its name."""
        names = _number([entry.kind for entry in self.entries])
        return tuple(
            Stage(kind=entry.kind, name=name, settings=entry.settings)
            for entry, name in zip(self.entries, names, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRecipe:
    """A recipe, the same as plain values, and what set each of them.

    `sources` maps each dotted path in `resolved` to `file:line`, `--set ...` or `default`; `missing` has the
    paths of data that lead nowhere, with what is told of each and a hint.
    """

    recipe: Recipe
    resolved: dict[str, Any]
    sources: dict[str, str]
    missing: dict[str, tuple[str, str]]

    def problem(self, path: str, what: str, *, hint: str = "", reason: str = "") -> Problem:
        """Return a problem of what stands at a dotted path, told at its line."""
        given = {leaf: where for leaf, where in self.sources.items() if where != "default"}
        inside = (where for leaf, where in given.items() if f"{leaf}.".startswith(f"{path}."))
        return Problem(where=next(inside, path), what=f"{path}: {what}", hint=hint, reason=reason)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read a recipe with what it extends, set overrides, check everything.

    Data that are missing aren't raised alone: what else is there can be checked, and is told with them.

    Args:
        path: the YAML file.
        overrides: `a.b=value` each, the value in YAML; a stage goes by its index or its name
            (`stages.0.sft.optimizer.lr=1e-3` or `stages.sft.optimizer.lr=1e-3`).

    Raises:
        RecipeError: with all problems found.
    """
    tree = _read_extended(Path(path), ())
    for override in overrides:
        tree = _override(tree, override)
    tree, missing = _locate_data(tree)
    mistakes = [(place, f"{dotted(place)}: {what}", hint) for place, what, hint in missing]
    recipe = _validate(tree.value, mistakes)
    if recipe is None or len(mistakes) > len(missing):
        marked = [(tree.nearest_mark(place), what, hint) for place, what, hint in mistakes]
        marked.sort(key=lambda mistake: mistake[0])
        raise RecipeError([Problem(where=str(mark), what=what, hint=hint) for mark, what, hint in marked])
    resolved = recipe.model_dump(mode="json")
    marks = {place: part.mark for place, part in tree.walk()}
    sources = {dotted(place): str(marks.get(place, "default")) for place in leaves(resolved)}
    lost = {dotted(place): (what, hint) for place, what, hint in missing}
    return LoadedRecipe(recipe=recipe, resolved=resolved, sources=sources, missing=lost)


def dump_recipe(recipe: Recipe, sources: Mapping[str, str]) -> str:
    """Return a recipe as YAML that holds every value, with what set each of them as comments.

    Args:
        recipe: the recipe.
        sources: what `load_recipe` gave, by dotted path; places without a source get no comment.
    """
    text = StringIO()
    YAML().dump(_commented(recipe.model_dump(mode="json"), (), sources), text)
    return text.getvalue()


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, for editors."""
    schema = Recipe.model_json_schema(by_alias=True)
    description = "Another recipe, relative to this file, whose values hold where this one has none."
    schema["properties"]["extends"] = {"type": "string", "description": description}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _read_extended(path: Path, seen: tuple[Path, ...]) -> Marked:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        hint = "give the path of a recipe; `adatta init DIR` writes one"
        raise RecipeError(f"no recipe can be read: {error.strerror}", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        what = f"no UTF-8 at byte {error.start + 1}"
        raise RecipeError(what, where=str(path), hint="save it as UTF-8") from error
    tree = read_yaml(text, str(path))
    if not isinstance(tree.content, dict):
        what = "the recipe is empty" if tree.content is None else "the recipe is no mapping"
        raise RecipeError(what, where=f"{path}:1", hint="begin with `name: my-run`")
    extends = tree.content.pop("extends", None)
    if extends is None or extends.content is None:
        return tree
    base = extends.content
    if not isinstance(base, str) or (path.parent / base).resolve() in (*seen, path.resolve()):
        what = "extends needs the path of one other recipe that doesn't lead back here"
        raise RecipeError(what, where=str(extends.mark), hint="name one file")
    return _read_extended(path.parent / base, (*seen, path.resolve())).overlaid(tree)


def _override(tree: Marked, text: str) -> Marked:
    path, sign, value = text.partition("=")
    where = f"--set {text}"
    if not (sign and path.strip()):
        raise RecipeError("no assignment", where=where, hint="write --set path=value, such as seed=7")
    place: list[str | int] = [int(key) if key.isdigit() else key for key in path.strip().split(".")]
    if len(place) > 1 and place[0] == "stages" and isinstance(place[1], str):
        names = _stage_names(tree.value)
        if place[1] not in names:
            known = ", ".join(names) or "none"
            what = f"no stage is called '{place[1]}'{nearest(place[1], names)}"
            raise RecipeError(what, where=where, hint=f"stages of this recipe: {known}")
        index = names.index(place[1])
        place[1:2] = [index, *tree.value["stages"][index]]
    try:
        return tree.replaced(tuple(place), read_yaml(value, where, line=0))
    except KeyError as error:
        what = f"nothing to set at '{error.args[0]}' in {path}"
        raise RecipeError(what, where=where, hint="use a key of a mapping or an index") from error


def _stage_names(value: Any) -> list[str]:
    """Return the names of stages that aren't validated yet; an unusable entry has an empty name."""
    stages = value.get("stages")
    entries = stages if isinstance(stages, list) else []
    return _number([next(iter(e)) if isinstance(e, dict) and len(e) == 1 else "" for e in entries])


def _number(kinds: Sequence[str]) -> list[str]:
    """Name stages by their kinds: sft, sft-2; no kind, no name."""
    counts = [kinds[:index].count(kind) for index, kind in enumerate(kinds, start=1)]
    return [kind if n == 1 or not kind else f"{kind}-{n}" for kind, n in zip(kinds, counts, strict=True)]


def _locate_data(tree: Marked) -> tuple[Marked, list[Mistake]]:
    """Make paths of data absolute; those that lead nowhere are mistakes."""
    mistakes: list[Mistake] = []
    for place, part in tree.walk():
        path, mark = part.content, part.mark
        is_path = _DATA_PATH.fullmatch(dotted(place)) and isinstance(path, str)
        if not (is_path and path) or path.startswith("hub:"):
            continue
        if isinstance(place[-1], int) and not path.endswith(".yaml"):  # the name of a suite
            continue
        folders = _folders(mark.source if mark.line else None)
        found = [folder for folder in folders if (folder / path).exists() or _has_match(folder / path)]
        if found:
            tree = tree.replaced(place, Marked(str(found[0].joinpath(path).resolve()), mark))
        else:
            hint = f"looked in {', '.join(str(folder) for folder in folders)}"
            mistakes.append((place, f"no file or folder '{path}'", hint))
    return tree, mistakes


def _has_match(path: Path) -> bool:
    """Say whether a path is a pattern such as data/*.jsonl that something matches."""
    return any(char in str(path) for char in "*?[") and bool(glob(str(path), recursive=True))


def _folders(recipe: str | None) -> list[Path]:
    here = Path.cwd()
    if recipe is None:
        return [here]
    beside = Path(recipe).resolve().parent
    shipped = bundled_dir().resolve()
    folders = [beside, here, *([shipped] if beside.is_relative_to(shipped / "recipes") else [])]
    return list(dict.fromkeys(folders))


def _validate(value: Any, mistakes: list[Mistake]) -> Recipe | None:
    """Return the recipe if it is right; else add every mistake that can be told."""
    wrong: list[Mistake] = []
    try:
        recipe: Recipe | None = Recipe.model_validate(value)
        usable = recipe
    except ValidationError as error:
        recipe, wrong = None, explain(error, value, root=Recipe)
        usable = _read_without(value, [place for place, *_ in wrong])
    located = {place for place, *_ in mistakes}
    mistakes.extend(mistake for mistake in wrong if mistake[0] not in located)
    for place, what, hint in _contradictions(usable) if usable else ():
        if not any(bad[:2] == place[:2] for bad, *_ in wrong):
            mistakes.append((place, f"{dotted(place)}: {what}", hint))
    return recipe


def _read_without(value: Any, places: Sequence[Place]) -> Recipe | None:
    """Read the recipe without its wrong values, so that what contradicts the others is told as well."""
    if any(place[0] == "stages" and len(place) <= 3 for place in places):
        return None  # which stages there are is unclear
    value = deepcopy(value)
    for place in sorted(places, key=str, reverse=True):
        with suppress(KeyError, IndexError, TypeError):  # a missing key can't be left out, nor one of null
            del value_at(value, place[:-1])[place[-1]]
    try:
        return Recipe.model_validate(value)
    except ValidationError:
        return None


def _contradictions(recipe: Recipe) -> Iterator[Mistake]:
    """Yield a mistake for values that are right alone and wrong together."""
    stages = recipe.stages
    training = [index for index, stage in enumerate(stages) if isinstance(stage.settings, TrainSettings)]
    if recipe.on_overlong == "split" and {stages[index].kind for index in training} == {"dpo"}:
        yield ("on_overlong",), "preferences can't be split", "use quarantine"
    for index, stage in enumerate(stages):
        place: Place = ("stages", index, stage.kind)
        settings = stage.settings
        if isinstance(settings, TrainSettings):
            yield from _training_contradictions(settings, place, is_last=index == training[-1])
            if recipe.engine == "fused" and settings.adapter.dropout:
                yield ("engine",), f"fused can't do {stage.name}'s dropout", "use auto or forest"
        if isinstance(settings, EvaluateSettings):
            trained = [stages[i].name for i in training if i < index]
            yield from _wrong_models(settings, place, trained)


def _wrong_models(settings: EvaluateSettings, place: Place, trained: Sequence[str]) -> Iterator[Mistake]:
    known = ("base", *trained)
    if settings.models is not None and "base" not in settings.models:
        what = "base is not among the models, and every figure is compared with it"
        yield (*place, "models"), what, "add base"
    for number, model in enumerate(settings.models or ()):
        if model not in known:
            what = f"no model '{model}' before this stage{nearest(model, trained)}"
            yield (*place, "models", number), what, f"models here: {', '.join(known)}"
    for name in settings.others:
        if name in known or is_control(name):
            what = f"another row of the table is called '{name}'"
            yield (*place, "others", name), what, "choose another name"


def _training_contradictions(settings: TrainSettings, place: Place, *, is_last: bool) -> Iterator[Mistake]:
    into = (*place, "merge", "into")
    for number, source in enumerate(settings.data):
        if source.weight != 1 and source.rows is not None:
            what = "a weight and a number of rows contradict each other"
            yield (*place, "data", number, "weight"), what, "give one of them"
        for name, default in (("config", None), ("split", "train"), ("revision", None)):
            if getattr(source, name) != default and not source.path.startswith("hub:"):
                what = "only a data set of the Hub has one"
                yield (*place, "data", number, name), what, "leave it out, or write path: hub:OWNER/NAME"
    if isinstance(settings, DpoSettings) and settings.share_prefix and settings.adapter.dropout > 0:
        what = "dropout above 0 with share_prefix: true would give both answers one draw of dropout"
        yield (*place, "adapter", "dropout"), what, "set dropout: 0.0, or share_prefix: false"
    if settings.merge.into == "none" and not is_last:
        yield into, "none is possible on the last training stage only", "use full here"
    if settings.merge.into == "none" and settings.method == "full":
        yield into, "none needs an adapter, which method: full doesn't train", "use full"
    if settings.merge.into == "none" and settings.adapter.also:
        yield into, "none leaves an adapter, which doesn't hold what adapter.also trains", "use full"
    if settings.merge.into == "dequantised" and settings.method != "qlora":
        yield into, f"dequantised needs method: qlora, not {settings.method}", "use full"
    if settings.keep == "best" and settings.holdout.path is None and settings.holdout.share == 0:
        yield (*place, "keep"), "best needs rows held out to choose by", "set holdout.share above 0"


def _commented(value: Any, place: Place, sources: Mapping[str, str]) -> Any:
    inner = [(key, _commented(part, (*place, key), sources)) for key, part in parts(value)]
    if not inner:
        return value
    node: Any = CommentedMap(inner) if isinstance(value, dict) else CommentedSeq(part for _, part in inner)
    for key, _ in inner:
        here = dotted((*place, key))
        if here in sources:
            node.yaml_add_eol_comment(sources[here], key)
    return node
