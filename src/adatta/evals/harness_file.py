"""A user's own benchmarks: a YAML file of one task or several, with the data beside it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adatta.core.errors import Problem, RecipeError
from adatta.core.extras import require
from adatta.core.fingerprint import content_id, hash_file
from adatta.core.recipe_problems import explain, nearest
from adatta.core.registry import load_registry
from adatta.core.settings import Settings
from adatta.evals.harness_suite import (
    DataSource,
    HarnessSuite,
    HarnessTask,
    list_harness_suites,
    load_harness_suite,
)

_FAULTS = (OSError, ValueError, TypeError, LookupError, AttributeError, ImportError)


def is_suite_file(name: str) -> bool:
    """Tell whether the name of a suite is the path of a user's file."""
    return name.endswith(".yaml") and Path(name).is_file()


def open_suite(name: str) -> HarnessSuite:
    """Return a suite of benchmarks by name, or from a user's file.

    A file is a task as the harness takes it, with our keys for data and report beside, or has several such
    `tasks`. Splits and shots are those of the configuration: with its sampler `first_n` the first rows, else
    those of the smallest hash. Tasks with the key `harness` are written as in our own suites.

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
        config = loader.load_yaml(path)
        given = config if "tasks" in config else _take(config, HarnessSuite) | {"tasks": [config]}
        tasks = [_read_task(task, default=path.stem) for task in given["tasks"]]
        value = {"name": path.stem, "version": 1, **given, "tasks": tasks, "path": path}
        suite = HarnessSuite.model_validate(value)
    except ValidationError as error:
        mistakes = explain(error, value, root=HarnessSuite)
        raise RecipeError(
            [Problem(where=name, what=what, hint=hint) for _, what, hint in mistakes]
        ) from error
    except (*_FAULTS, loader.yaml.YAMLError) as error:
        what = f"no suite: {' '.join(str(error).split())}"
        hint = "write a task as lm_eval takes it; docs/evaluation.md has an example"
        raise RecipeError(Problem(where=name, what=what, hint=hint)) from error
    if taken := {suite.name, *(task.name for task in suite.tasks)}.intersection(_list_names()):
        what = f"a suite or task of ours is called {', '.join(sorted(taken))}"
        raise RecipeError(Problem(where=name, what=what, hint="choose another name"))
    return suite


def _list_names() -> Iterator[str]:
    own = load_registry("adatta.evals.suites").values()
    for suite in (*own, *map(load_harness_suite, list_harness_suites())):
        yield from (suite.name, *(task.name for task in suite.tasks))


def _take(config: dict[str, Any], model: type[Settings]) -> dict[str, Any]:
    """Take out the keys that are fields of a model."""
    return {key: config.pop(key) for key in model.model_fields if key in config}


def _read_task(config: dict[str, Any], *, default: str) -> dict[str, Any]:
    """Read one task into the fields of ours."""
    if "harness" in config:
        return config
    ours, given = _take(config, HarnessTask), _take(config, DataSource)
    known = [field.name for field in fields(require("lm_eval.config.task", "eval").TaskConfig)]
    for key in (key for key in config if key not in known):
        raise ValueError(f"unknown key {key!r}{nearest(key, [*known, *HarnessTask.model_fields])}")
    name = config.get("task", default)
    split = config.get("test_split") or config.get("validation_split") or "test"
    pool = config.get("fewshot_split") or config.get("training_split") or split
    rule = "first" if "first_n" in str(config.get("fewshot_config")) else "smallest-hash"
    data = {"hub": config.get("dataset_path"), "config": config.get("dataset_name"), "split": split}
    shots = {"count": config.get("num_fewshot") or 0, "split": pool, "rule": rule}
    metrics = ours.get("metrics") or list(_list_metrics(config))
    primary = ours.get("metric", metrics[0])
    definition = json.dumps(config, sort_keys=True, default=_identify)
    found = {"name": name, "harness": name, "data": data | given, "shots": shots, "settings": config, **ours}
    metrics = [*dict.fromkeys([primary, *metrics])]
    return found | {"metric": primary, "metrics": metrics, "definition": content_id(definition)}


def _list_metrics(config: dict[str, Any]) -> Iterator[str]:
    """Yield what is kept of each metric and filter."""
    for each in config["metric_list"]:
        if not each.get("higher_is_better", True):
            raise ValueError(f"{each['metric']} is better when lower; give one that is better when higher")
        names = [f",{filtered['name']}" for filtered in config.get("filter_list") or ()]
        yield from (f"{each['metric']}{name}" for name in names or [""])


def _identify(function: Callable[..., Any]) -> str:
    """Give what decides what a function of a task does: the content of its file."""
    return hash_file(Path(inspect.getfile(function)))
