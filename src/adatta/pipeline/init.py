"""Make a folder with a commented recipe and example data, or a recipe made for the user's own files."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from adatta.core.artefact import write_atomic
from adatta.core.errors import Problem, RecipeError
from adatta.core.problems import Problems
from adatta.core.runtime import bundled_dir
from adatta.lang.profile import load_profile
from adatta.pipeline.report_facts import describe_shapes, describe_unread

if TYPE_CHECKING:
    from adatta.data.shape import RowKind

EXAMPLES = {"sft": "conversations.jsonl", "preferences": "preferences.jsonl", "text": "text"}
KINDS: dict[str, RowKind] = {"sft": "conversation", "preferences": "preference", "text": "document"}
MIN_CONTEXT, LARGEST_CONTEXT = 1024, 2**17  # the offline suite fits into the first
SMALL_MODEL_PARAMETERS = 1_000_000_000  # fits without 4 bits almost everywhere
BYTES_PER_TOKEN, TEMPLATE_TOKENS = 2, 16  # rather too few and too many: the context must be enough
EPOCHS = {3: 1000, 2: 10_000, 1: float("inf")}  # passes -> for fewer rows than this


@dataclass(slots=True, kw_only=True)
class _Found:
    """What lies under a path: rows of each shape, keys that nothing reads, about how long the longest is."""

    shapes: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    longest_tokens: int = 0

    def __str__(self) -> str:
        return f"{describe_shapes(self.shapes)}, the longest about {self.longest_tokens} tokens"


def init_folder(folder: Path, *, base: str, files: Mapping[str, Path], language: str = "it") -> None:
    """Write `folder/recipe.yaml` and, when no file of the user's is named, example data beside it.

    Args:
        folder: made when missing; an existing recipe in it is never overwritten.
        base: name of the model to start from.
        files: the user's own files, folders or globs, by a key of `EXAMPLES`; every row of them is read.
        language: tag of the language profile.

    Raises:
        RecipeError: there is a recipe already, a named file is missing, rows can't be used, or the folder
            can't be made.
    """
    load_profile(language)
    recipe, problems = folder / "recipe.yaml", Problems()
    found = {stage: _look(path, KINDS[stage], problems) for stage, path in files.items()}
    if recipe.exists():
        hint = "Name another folder, or remove it."
        problems.append(Problem(where=str(recipe), what="there is a recipe already", hint=hint))
    if len(problems):
        raise RecipeError(problems.shortened())
    text = _fill(recipe, base=base, language=language, given=files, found=found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what, hint = f"no folder can be made here: {error.strerror}", "Name another folder."
        raise RecipeError(Problem(where=str(folder), what=what, hint=hint)) from error
    for name in () if files else EXAMPLES.values():
        _copy(bundled_dir() / "data" / name, folder / "data" / name)
    write_atomic(recipe, text)
    for stage, rows in found.items():
        print(f"{stage}: {rows}{describe_unread(rows.ignored)}")
    print(f"wrote {recipe}\nnext:  adatta check {recipe}\nthen:  adatta run {recipe}")


def _look(path: Path, kind: RowKind, problems: Problems) -> _Found:
    """Read every row under a path and note what is wrong with it."""
    from adatta.data.contents import list_contents
    from adatta.data.source import find_files, read_file
    from adatta.data.validate import Input
    from adatta.pipeline.sources import check_structure

    found, validation = _Found(), check_structure(kind, problems)
    for file in find_files(path, validation):
        given = Input(name=str(file), records=read_file(file, validation))
        for row in validation.rows(given):
            texts = [len(content.text.encode("utf-8")) for content in list_contents(row)]
            tokens = sum(texts) // BYTES_PER_TOKEN + TEMPLATE_TOKENS * len(texts)
            found.longest_tokens = max(found.longest_tokens, tokens)
        found.shapes += given.shapes
        found.ignored += given.ignored
    return found


def _fill(
    recipe: Path, *, base: str, language: str, given: Mapping[str, Path], found: Mapping[str, _Found]
) -> str:
    """Fill in init.yaml: its head, the stages that have data, its tail."""
    text = resources.files("adatta.pipeline").joinpath("init.yaml").read_text(encoding="utf-8")
    head, *stages, tail = text.split("\n\n")
    limit, is_small = _measure_model(base) if given else (MIN_CONTEXT, False)
    longest = max((rows.longest_tokens for kind, rows in found.items() if kind != "text"), default=1)
    context = min(max(MIN_CONTEXT, 1 << (longest - 1).bit_length()), limit)
    name = re.sub(r"[^\w-]", "-", recipe.parent.resolve().name).strip("-") or "mine"
    values = {"recipe": recipe, "name": name, "base": json.dumps(base), "language": language}
    overlong = "split" if "text" in given else "error"
    parts = [head.format(**values, context=context, overlong=overlong)]
    for (kind, example), stage in zip(EXAMPLES.items(), stages, strict=True):
        if kind in given or not given:
            path = os.path.relpath(given[kind], recipe.parent) if given else f"data/{example}"
            rows = found.get(kind, "examples to start from")
            num_rows = found[kind].shapes.total() if given else 10_000
            epochs = next(epochs for epochs, below in EPOCHS.items() if num_rows < below)
            method = "lora" if is_small else "qlora"
            parts.append(stage.format(path=json.dumps(path), found=rows, method=method, epochs=epochs))
    return "\n".join([*parts, tail.format()])


def _measure_model(base: str) -> tuple[int, bool]:
    """Return the model's context and whether it is small; one of the Hub is not downloaded for this."""
    from adatta.model.files import locate, read_config
    from adatta.model.memory import ModelShape
    from adatta.model.name import parse_name

    if parse_name(base).path is None:
        return LARGEST_CONTEXT, False
    config = read_config(locate(base).folder)
    is_small = ModelShape.of(config).parameters < SMALL_MODEL_PARAMETERS
    return config.get("max_position_embeddings", LARGEST_CONTEXT), is_small


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
