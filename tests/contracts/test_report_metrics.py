"""The entries of `metrics` in report.json: the keys of the design, and JSON that holds them."""

from __future__ import annotations

import json
from collections import Counter

import jsonschema
import pytest

from adatta.evals.ask import Limits, ask_suite, make_subject
from adatta.evals.compare import compare
from adatta.evals.suite import load_suite
from adatta.lang.profile import load_profile
from tests.toys.byte_chat import STOP_ID, ByteChat

INTERVAL = {
    "anyOf": [
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        {"type": "null"},
    ]
}


def closed(properties, **more):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }


FIGURE = closed({"value": {"type": "number"}, "ci95": INTERVAL})
IN_GROUP = closed({**FIGURE["properties"], "n": {"type": "integer", "minimum": 1}})
P = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
DIFFERENCE = closed(
    {
        "value": {"type": "number"},
        "ci95": INTERVAL,
        "p": P,
        "p_holm": P,
        "n": {"type": "integer", "minimum": 1},
        "discordant": {"type": "number", "minimum": 0, "maximum": 1},
    },
    required=["value", "ci95", "p", "p_holm", "n"],
)
ENTRY = closed(
    {
        "suite": {"type": "string"},
        "task": {"type": "string"},
        "language": {"enum": ["it", "en"]},
        "metric": {"type": "string"},
        "unit": {"enum": ["share", "bits/byte"]},
        "higher_is_better": {"type": "boolean"},
        "primary": {"type": "boolean"},
        "n": {"type": "integer", "minimum": 0},
        "clusters": {"type": "integer", "minimum": 0},
        "base": FIGURE,
        "adapted": {"anyOf": [FIGURE, {"type": "null"}]},
        "difference": {"anyOf": [DIFFERENCE, {"type": "null"}]},
        "stages": {
            "type": "object",
            "additionalProperties": closed(
                {
                    "value": {"type": "number"},
                    "ci95": INTERVAL,
                    "difference": {"anyOf": [DIFFERENCE, {"type": "null"}]},
                }
            ),
        },
        "groups": {
            "type": "object",
            "additionalProperties": {"type": "object", "additionalProperties": IN_GROUP},
        },
        "unscored": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
    }
)

CONTROLS = {
    "preferences_it": ["control-longer", "control-language"],
    "prompts_it": ["control-plain", "control-1-shot"],
}


def ask(stage, nats):
    """Ask the bundled suite of a model that gives every byte `nats`."""
    return ask_suite(
        load_suite("offline"),
        ByteChat(),
        subject=make_subject(stage, stage, load_profile("it")),
        limits=Limits(context=4096),
        sum_log_probs=lambda groups: [[-nats * sum(row.weights) for row in rows] for rows in groups],
        generate=lambda prompts: [(*b"Buongiorno a tutti, come va?", STOP_ID)] * len(prompts),
    )


@pytest.fixture(scope="module")
def scores():
    stages = {"base": 1.0, "sft": 0.9, "dpo": 0.8, "control-plain": 1.0, "control-1-shot": 1.0}
    return [score for stage, nats in stages.items() for score in ask(stage, nats)]


@pytest.mark.parametrize("stages", [[], ["sft"], ["sft", "dpo"]])
def test_entries_have_the_keys_of_the_design(scores, stages):
    entries = compare(scores, base_stage="base", stages=stages)
    jsonschema.validate(json.loads(json.dumps(entries, allow_nan=False)), {"type": "array", "items": ENTRY})
    assert [(entry["task"], entry["metric"]) for entry in entries] == [
        ("text_it", "bits_per_byte"),
        ("text_en", "bits_per_byte"),
        ("questions_it", "accuracy"),
        ("questions_it", "accuracy_sum"),
        *(("questions_letters_it", name) for name in ("accuracy", "consistency")),
        *(("questions_letters_it", f"recall_{letter}") for letter in "abcd"),
        ("questions_en", "accuracy"),
        ("questions_en", "accuracy_sum"),
        ("pairs_it", "accuracy"),
        ("preferences_it", "accuracy"),
        ("preferences_it", "accuracy_sum"),
        ("prompts_it", "language_fidelity"),
        ("prompts_it", "language_fidelity_sure"),
        ("prompts_it", "line_accuracy"),
        ("prompts_it", "language_by_line"),
        ("prompts_it", "stop_share"),
    ]
    items = load_suite("offline").items()
    for entry in entries:
        assert entry["n"] == len(items[entry["task"]])
        assert (entry["adapted"] is None) == (not stages)
        controls = CONTROLS.get(entry["task"], [])
        assert list(entry["stages"]) == [*stages, *controls]
        faults = Counter(item.fields.get("fault") for item in items[entry["task"]])
        if entry["task"] == "preferences_it":
            for fault, models in entry["groups"].items():
                assert list(models) == ["base", *stages, *controls]
                assert {figure["n"] for figure in models.values()} == {faults.pop(fault)}
            assert not faults
        for figure in (entry["base"], *entry["stages"].values()):
            low, high = figure["ci95"]
            assert low <= figure["value"] <= high


def test_schema_of_this_suite_sees_a_missing_and_an_added_key(scores):
    entry = compare(scores, base_stage="base", stages=["sft"])[0]
    for broken in ({**entry, "extra": 1}, {key: value for key, value in entry.items() if key != "unscored"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, ENTRY)
