"""What a report must hold before anybody trusts it; `python -m adatta.pipeline.gate REPORT.json` asks it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adatta.pipeline.numbers import interval_of, read_number, value_of

# Bits per byte of English may rise by three per cent at most.
ENGLISH_LIMIT = 1.03


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
        figures |= {name: figure, f"{name}, difference to base": (figure or {}).get("difference")}
    if evaluated:
        figures |= {"adapted": entry.get("adapted"), "adapted, difference to base": entry.get("difference")}
    yield from (f"{where}: stage {name} is missing" for name in evaluated if name not in stages)
    if entry.get("unscored") and not entry.get("primary"):
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


def demo_gate(report: Mapping[str, Any]) -> list[str]:
    """Ask what the demo must show: Italian better beyond doubt, on every text; English not much worse.

    Args:
        report: the content of report.json.

    Returns:
        One line a problem: all of `check_report`, Italian bits per byte whose paired interval doesn't lie
        below 0, English bits per byte that rose by more than 3%, minimal pairs worse beyond doubt.
    """
    problems = check_report(report)
    for language, tag in {"Italian": "it", "English": "en"}.items():
        entries = [
            entry
            for entry in report.get("metrics") or ()
            if entry.get("metric") == "bits_per_byte" and entry.get("language") == tag
        ]
        if not entries:
            problems.append(f"{language} bits per byte: not measured")
        for entry in entries:
            bounds = interval_of(entry.get("difference"))
            base, adapted = value_of(entry.get("base")), value_of(entry.get("adapted"))
            if tag == "it" and (bounds is None or bounds[1] >= 0.0):
                told = f"95% interval of the difference {bounds}"
                problems.append(f"Italian bits per byte of {entry.get('task')} did not fall: {told}")
            if tag == "en" and (base is None or adapted is None or adapted > ENGLISH_LIMIT * base):
                problems.append(f"English bits per byte rose by more than 3%: base {base}, adapted {adapted}")
    for entry in report.get("metrics") or ():
        bounds = interval_of(entry.get("difference"))
        if entry.get("task") == "pairs_it" and bounds and bounds[1] < 0.0:
            problems.append(f"Italian minimal pairs got worse: 95% interval of the difference {bounds}")
    return problems


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
