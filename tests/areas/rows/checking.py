"""Check files as `adatta check` does: a recipe of one training stage on a toy model, its rows prepared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adatta.chat.render import Chat
from adatta.core.errors import AdattaError
from adatta.core.recipe import Recipe, load_recipe
from adatta.pipeline.prepare import StageRows, prepare_stage

RECIPE = "recipe.yaml"


def write_recipe(folder: Path, model: Path, kind: str, spec: str | list[str], **settings: Any) -> Path:
    """Write a recipe of one training stage.

    Args:
        folder: where it goes.
        model: a toy model's folder.
        kind: of the stage.
        spec: the path of its data, or several.
        settings: the recipe's; `fields` and `suites` go where they belong.
    """
    fields = settings.pop("fields", {})
    suites = settings.pop("suites", [])
    paths = [spec] if isinstance(spec, str) else spec
    training = {
        "data": [{"path": path, **({"fields": fields} if fields else {})} for path in paths],
        "holdout": {"share": 0.0, "min_rows": 0},
        "method": "lora",
        "budget": {"steps": 1},
    }
    recipe = {
        "name": "rows",
        "model": {"name": str(model)},
        "context": 512,
        "precision": "fp32",
        **settings,
        "stages": [{kind: training}, *([{"evaluate": {"suites": suites}}] if suites else [])],
    }
    path = folder / RECIPE
    path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    return path


def prepare(recipe: Recipe, chat: Chat) -> StageRows | AdattaError:
    """Prepare the rows of a recipe's only training stage, or return the error."""
    try:
        return prepare_stage(recipe.stages[0], recipe, chat)
    except AdattaError as error:
        return error


def load_recipes(folder: Path, model: Path, specs: Mapping[str, str]) -> dict[str, Recipe]:
    """Return a recipe that refuses bad rows for each kind of stage; `specs` are the paths of their data."""
    return {kind: load_recipe(write_recipe(folder, model, kind, spec)).recipe for kind, spec in specs.items()}
