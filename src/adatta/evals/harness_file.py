"""A user's own suite of benchmarks: a YAML file as ours, with the data beside it."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adatta.core.errors import Problem, RecipeError
from adatta.core.extras import require
from adatta.core.fingerprint import content_id, hash_file
from adatta.core.recipe_problems import explain, nearest
from adatta.core.registry import load_registry
from adatta.evals.harness_suite import HarnessSuite, list_harness_suites, load_harness_suite

_FAULTS = (OSError, ValueError, TypeError, LookupError, AttributeError, ImportError)


def is_suite_file(name: str) -> bool:
    """Tell whether the name of a suite is the path of a user's file."""
    return name.endswith(".yaml") and Path(name).is_file()


def open_suite(name: str) -> HarnessSuite:
    """Return a suite of benchmarks by name, or from a user's file.

    Args:
        name: Of one of our suites, or a path.

    Raises:
        RecipeError: There is no such suite; its file can't be read, or keys are missing or wrong.
        MissingExtraError: It is a file, and the harness isn't installed.
    """
    if not is_suite_file(name):
        return load_harness_suite(name)
    loader = require("lm_eval.tasks._yaml_loader", "eval")
    path, value = Path(name), {}
    try:
        value = {"name": path.stem, "version": 1, "tasks": (), **loader.load_yaml(path), "path": path}
        value["tasks"] = [_complete(task) for task in value["tasks"]]
        suite = HarnessSuite.model_validate(value)
    except ValidationError as error:
        mistakes = explain(error, value, root=HarnessSuite)
        told = [Problem(where=name, what=what, hint=hint) for _, what, hint in mistakes]
        raise RecipeError(told) from error
    except (*_FAULTS, loader.yaml.YAMLError) as error:
        what, hint = " ".join(str(error).split()), "docs/evaluation.md shows a suite"
        raise RecipeError(Problem(where=name, what=f"no suite: {what}", hint=hint)) from error
    ours: list[Any] = [*load_registry("adatta.evals.suites").values()]
    ours += map(load_harness_suite, list_harness_suites())
    taken = {each.name for own in ours for each in (own, *own.tasks)}
    if taken := taken.intersection([suite.name, *(task.name for task in suite.tasks)]):
        what = f"a suite or task of ours is called {', '.join(sorted(taken))}"
        raise RecipeError(Problem(where=name, what=what, hint="choose another name"))
    return suite


def _complete(task: dict[str, Any]) -> dict[str, Any]:
    """Look at what the harness is given, and name what follows from it."""
    settings = task.get("settings", {})
    known = [field.name for field in fields(require("lm_eval.config.task", "eval").TaskConfig)]
    for key in settings.keys() - known:
        raise ValueError(f"unknown key {key!r} in settings{nearest(key, known)}")
    for each in settings.get("metric_list", ()):
        if not each.get("higher_is_better", True):
            raise ValueError(f"{each['metric']} is better when lower; give one that is better when higher")
    # A function is what its file holds.
    text = json.dumps(settings, sort_keys=True, default=lambda given: hash_file(Path(inspect.getfile(given))))
    metrics = [*dict.fromkeys([task.get("metric"), *task.get("metrics", ())])]
    ours = {metric.name for kind in load_registry("adatta.evals.tasks").values() for metric in kind.metrics}
    if clash := sorted(ours.intersection(metrics)):
        raise ValueError(f"metrics: one of ours is called {', '.join(clash)}; choose another name")
    derived = {
        "metric": None,
        "harness": task.get("name"),
        "definition": content_id(text) if settings else "",
    }
    return derived | task | {"metrics": metrics}
