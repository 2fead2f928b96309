"""What a report must hold before anybody trusts it: each expected stage, figure and interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adatta.pipeline.numbers import interval_of, read_number, value_of


def check_report(report: Mapping[str, Any]) -> list[str]:
    """Find what is missing in a report: figures, intervals, items, stages.

    Args:
        report: the content of report.json.

    Returns:
        One line a problem; empty where each expected stage and figure is there.
    """
    expected = report.get("expected") or {}
    problems = [] if report.get("schema") == 1 else [f"schema: expected 1, given {report.get('schema')!r}"]
    done = {stage.get("name") for stage in report.get("stages") or ()}
    problems += [f"stage {name}: no record" for name in expected.get("stages") or () if name not in done]
    evaluated = [name for name in expected.get("evaluated") or () if name != "base"]
    metrics = report.get("metrics") or ()
    if expected.get("evaluated") and not metrics:
        problems.append("metrics: none, but the recipe evaluates")
    for entry in metrics:
        problems += _check_entry(entry, evaluated)
    return problems


def _check_entry(entry: Mapping[str, Any], evaluated: Sequence[str]) -> Iterator[str]:
    """Check one metric: items, base, adapted and every stage, each with its difference to base."""
    where, stages = f"{entry.get('task')} {entry.get('metric')}", entry.get("stages") or {}
    figures = {"base": entry.get("base")}
    for name, figure in stages.items():
        if "not_run" in (figure or {}):
            continue  # why stands there
        figures |= {name: figure, f"{name}, difference to base": (figure or {}).get("difference")}
    if evaluated:
        figures |= {"adapted": entry.get("adapted"), "adapted, difference to base": entry.get("difference")}
    yield from (f"{where}: stage {name} is missing" for name in evaluated if name not in stages)
    if (entry.get("unscored") and not entry.get("primary")) or "not_run" in (entry.get("adapted") or {}):
        return  # how many items can't be judged, and why, stands in the entry
    if (read_number(entry.get("n")) or 0) <= 0:
        yield f"{where}: no items (n = {entry.get('n')!r})"
    for name, figure in figures.items():
        if not figure:
            yield f"{where}: {name}: missing"
        elif value_of(figure) is None:
            yield f"{where}: {name}: no value"
        if figure and interval_of(figure) is None:
            yield f"{where}: {name}: no 95% interval"
