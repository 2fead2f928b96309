"""report.json: valid under the schema that ships, which refuses what readers can't use."""

from __future__ import annotations

import copy
import json
from importlib import resources

import pytest
from jsonschema import Draft202012Validator

from adatta.pipeline.report import build_report
from tests.unit.pipeline.made_up_run import make_inputs, make_metrics

SCHEMA = json.loads(
    resources.files("adatta.pipeline").joinpath("report.schema.json").read_text(encoding="utf-8")
)


def faults(report):
    return [
        error.json_path for error in Draft202012Validator(SCHEMA).iter_errors(json.loads(json.dumps(report)))
    ]


def test_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_whole_chain_is_valid():
    assert faults(build_report(make_inputs())) == []


def test_missing_figures_are_valid_and_named_as_problems():
    metrics = make_metrics()
    metrics[0] |= {"adapted": None, "difference": None}
    metrics[1]["base"]["ci95"] = None
    report = build_report(make_inputs(metrics=metrics))
    assert faults(report) == []
    assert len(report["problems"]) == 3


@pytest.mark.parametrize("section", SCHEMA["required"])
def test_every_section_is_required(section):
    report = build_report(make_inputs())
    del report[section]
    assert faults(report) == ["$"]


@pytest.mark.parametrize("name", SCHEMA["$defs"]["metric"]["required"])
def test_every_name_of_a_metric_is_required(name):
    report = copy.deepcopy(build_report(make_inputs()))
    del report["metrics"][0][name]
    assert faults(report) == ["$.metrics[0]"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schema": 2}, "$.schema"),
        ({"metrics": {}}, "$.metrics"),
        ({"problems": [1]}, "$.problems[0]"),
        ({"exported": {"a": "large"}}, "$.exported.a"),
    ],
)
def test_wrong_types_are_refused(change, path):
    assert faults(build_report(make_inputs()) | change) == [path]
