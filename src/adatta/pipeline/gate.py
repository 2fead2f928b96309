"""What a report must hold before anybody trusts it; `python -m adatta.pipeline.gate REPORT.json` asks it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adatta.pipeline.numbers import read_interval, read_number

# Bits per byte of English may rise by a twentieth at most.
ENGLISH_LIMIT = 1.05


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


def _check_entry(entry: Mapping[str, Any], evaluated: Sequence[str]) -> list[str]:
    """Check one metric: items, base, adapted and every stage."""
    where = f"{entry.get('task')} {entry.get('metric')}"
    num_items = read_number(entry.get("n"))
    problems = (
        [] if num_items is not None and num_items > 0 else [f"{where}: no items (n = {entry.get('n')!r})"]
    )
    problems += _check_figure(entry.get("base"), f"{where}: base")
    stages = entry.get("stages") or {}
    for name in evaluated:
        if name not in stages:
            problems.append(f"{where}: stage {name} is missing")
    for name, figure in stages.items():
        problems += _check_figure(figure, f"{where}: {name}")
        problems += _check_figure((figure or {}).get("difference"), f"{where}: {name}, difference to base")
    if evaluated:
        problems += _check_figure(entry.get("adapted"), f"{where}: adapted")
        problems += _check_figure(entry.get("difference"), f"{where}: adapted, difference to base")
    return problems


def _check_figure(figure: Mapping[str, Any] | None, where: str) -> list[str]:
    """Check that a figure has a finite value and an interval around it."""
    if not figure:
        return [f"{where}: missing"]
    problems = [] if read_number(figure.get("value")) is not None else [f"{where}: no value"]
    if read_interval(figure.get("ci95")) is None:
        problems.append(f"{where}: no 95% interval")
    return problems


def demo_gate(report: Mapping[str, Any]) -> list[str]:
    """Ask what the demo must show: Italian better beyond doubt, English not much worse.

    Args:
        report: the content of report.json.

    Returns:
        One line a problem: all of `check_report`, Italian bits per byte whose paired interval doesn't lie
        below 0, English bits per byte that rose by more than 5%.
    """
    problems = check_report(report)
    italian, english = (_find_bits_per_byte(report, language) for language in ("it", "en"))
    if not italian:
        problems.append("Italian bits per byte: not measured")
    for entry in italian:
        bounds = read_interval((entry.get("difference") or {}).get("ci95"))
        if bounds is None or bounds[1] >= 0.0:
            problems.append(f"Italian bits per byte did not fall: 95% interval of the difference {bounds}")
    if not english:
        problems.append("English bits per byte: not measured")
    for entry in english:
        base, adapted = (read_number((entry.get(side) or {}).get("value")) for side in ("base", "adapted"))
        if base is None or adapted is None or adapted > ENGLISH_LIMIT * base:
            problems.append(f"English bits per byte rose by more than 5%: base {base}, adapted {adapted}")
    return problems


def _find_bits_per_byte(report: Mapping[str, Any], language: str) -> list[Mapping[str, Any]]:
    return [
        entry
        for entry in report.get("metrics") or ()
        if entry.get("metric") == "bits_per_byte" and entry.get("language") == language
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the problems of a demo's report.

    Args:
        arguments: the path of report.json; None reads the command line.

    Returns:
        0 where there are none, else 1 (2: not called with one readable JSON file).
    """
    paths = list(sys.argv[1:] if arguments is None else arguments)
    if len(paths) != 1:
        print("usage: python -m adatta.pipeline.gate REPORT.json", file=sys.stderr)
        return 2
    try:
        report = json.loads(Path(paths[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"{paths[0]}: not a readable report.json: {error}", file=sys.stderr)
        return 2
    problems = demo_gate(report)
    for problem in problems:
        print(f"{paths[0]}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
