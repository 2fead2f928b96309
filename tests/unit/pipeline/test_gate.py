"""The gate: each of its assertions sees the report that breaks it."""

from __future__ import annotations

import copy
import json

import pytest

from adatta.pipeline.gate import check_report
from adatta.pipeline.report import build_report
from scripts.demo_gate import demo_gate, main
from tests.unit.pipeline.made_up_run import make_inputs


@pytest.fixture
def report():
    return copy.deepcopy(build_report(make_inputs()))


def find(report, task):
    return next(entry for entry in report["metrics"] if entry["task"] == task)


def test_good_report_passes(report):
    assert check_report(report) == []
    assert demo_gate(report) == []


def test_secondary_figure_may_lack_what_could_not_be_judged(report):
    entry = find(report, "prompts_it")
    entry.update(n=0, base={"value": None, "ci95": None}, difference=None)
    entry.update(primary=False, unscored={})
    assert len(check_report(report)) == 4
    entry["unscored"] = {"too short to tell": 40}
    assert check_report(report) == []
    entry["stages"].pop("dpo")
    assert check_report(report) == ["prompts_it language_fidelity: stage dpo is missing"]
    entry["primary"] = True
    assert len(check_report(report)) == 5


BREAKS = {
    "base without interval": (lambda e: e["base"].update(ci95=None), "base: no 95% interval"),
    "base without value": (lambda e: e["base"].update(value=None), "base: no value"),
    "no base": (lambda e: e.update(base=None), "base: missing"),
    "adapted without interval": (lambda e: e["adapted"].update(ci95=None), "adapted: no 95% interval"),
    "no adapted": (lambda e: e.update(adapted=None), "adapted: missing"),
    "no difference": (lambda e: e.update(difference=None), "adapted, difference to base: missing"),
    "interval upside down": (
        lambda e: e["difference"].update(ci95=[1.0, -1.0]),
        "difference to base: no 95% interval",
    ),
    "interval not a number": (lambda e: e["base"].update(ci95=[float("nan"), 1.0]), "base: no 95% interval"),
    "no items": (lambda e: e.update(n=0), "no items"),
    "n missing": (lambda e: e.pop("n"), "no items"),
    "a stage is missing": (lambda e: e["stages"].pop("dpo"), "stage dpo is missing"),
    "a stage without interval": (lambda e: e["stages"]["dpo"].update(ci95=None), "dpo: no 95% interval"),
    "a stage without difference": (
        lambda e: e["stages"]["dpo"].update(difference=None),
        "dpo, difference to base: missing",
    ),
    "a control without interval": (
        lambda e: e["stages"]["control-plain"].update(ci95=None),
        "control-plain: no 95% interval",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_broken_metric_is_seen(report, name):
    break_it, problem = BREAKS[name]
    break_it(find(report, "prompts_it"))
    found = check_report(report)
    assert found
    assert all("prompts_it language_fidelity" in line for line in found)
    assert any(problem in line for line in found)
    assert set(found) <= set(demo_gate(report))


def test_stage_without_record_is_seen(report):
    report["stages"] = [stage for stage in report["stages"] if stage["name"] != "dpo"]
    assert check_report(report) == ["stage dpo: no record"]


def test_report_without_metrics_is_seen(report):
    report["metrics"] = []
    assert check_report(report) == ["metrics: none, but the recipe evaluates"]
    assert {"Italian bits per byte: not measured", "English bits per byte: not measured"} <= set(
        demo_gate(report)
    )


def test_other_schema_is_seen(report):
    assert check_report(report | {"schema": 2}) == ["schema: expected 1, given 2"]


def test_plain_model_needs_no_adapted_column(report):
    report["expected"] = {"stages": ["evaluate"], "evaluated": ["base"]}
    for entry in report["metrics"]:
        entry.update(adapted=None, difference=None, stages={})
    assert check_report(report) == []


@pytest.mark.parametrize("interval", [[-0.1, 0.0], [-0.1, 0.1], [0.1, 0.2], None])
def test_italian_that_did_not_fall_is_seen(report, interval):
    find(report, "text_it")["difference"]["ci95"] = interval
    assert any(line.startswith("Italian bits per byte of text_it did not fall") for line in demo_gate(report))


@pytest.mark.parametrize(("factor", "passes"), [(0.9, True), (1.0299, True), (1.0301, False), (2.0, False)])
def test_english_may_rise_by_three_per_cent(report, factor, passes):
    english = find(report, "text_en")
    english["adapted"]["value"] = factor * english["base"]["value"]
    assert (demo_gate(report) == []) is passes


def test_english_without_value_is_seen(report):
    find(report, "text_en")["adapted"]["value"] = None
    assert any(line.startswith("English bits per byte rose") for line in demo_gate(report))


def test_command_answers_with_its_exit_code(report, tmp_path, capsys):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    assert main([str(path)]) == 0
    find(report, "text_it")["difference"]["ci95"] = [-0.1, 0.1]
    path.write_text(json.dumps(report), encoding="utf-8")
    assert main([str(path)]) == 1
    assert "Italian bits per byte of text_it did not fall" in capsys.readouterr().err


def test_command_refuses_what_is_no_report(tmp_path, capsys):
    assert main([]) == 2
    assert main([str(tmp_path / "none.json")]) == 2
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    assert main([str(tmp_path / "broken.json")]) == 2
    assert "not a readable report.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ends", "passes"), [([-0.2, -0.01], False), ([-0.2, 0.0], True), ([0.01, 0.2], True)]
)
def test_minimal_pairs_may_not_be_worse_beyond_doubt(report, ends, passes):
    (entry,) = (each for each in report["metrics"] if each["task"] == "pairs_it")
    entry["difference"]["ci95"] = ends
    found = [line for line in demo_gate(report) if "minimal pairs" in line]
    assert (found == []) is passes
