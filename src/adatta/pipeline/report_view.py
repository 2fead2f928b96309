"""The parts of a report as a reader sees them, for HTML and Markdown: numbers as texts, plots drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from adatta.pipeline.charts import Shape, Whisker, draw_forest, draw_losses
from adatta.pipeline.numbers import (
    Scale,
    decimals_for,
    read_interval,
    read_number,
    scale_of,
    show_interval,
    show_number,
    show_p,
)
from adatta.pipeline.report_facts import build_facts
from adatta.pipeline.verdict import (
    METRICS,
    WORDS,
    describe,
    find_direction,
    judge,
    name_language,
    name_metric,
)

CONTROL_PREFIX = "control-"
NUM_SHOWN_ANSWERS = 10


def build_view(
    report: Mapping[str, Any],
    *,
    answers: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Turn a report into what the templates print.

    Args:
        report: the content of report.json.
        answers: free answers `{"prompt", "topic", "answers": {stage: text}}` in the order of the fixed list.
        curves: the lines of metrics.jsonl by stage.

    Returns:
        Texts, tables and plots by the name that the templates use; `figures` holds each plot and its file.
    """
    evaluated = [name for name in report["expected"]["evaluated"] if name != "base"]
    metrics = sorted(report["metrics"], key=lambda entry: not entry.get("primary"))
    judgement = judge(metrics, is_compared=bool(evaluated))
    panels = [panel for entry in metrics if entry.get("primary") and (panel := _draw_panel(entry, evaluated))]
    losses = [
        panel for stage in report["stages"] if (panel := _draw_stage(stage, curves.get(stage["name"], ())))
    ]
    return {
        "report": report,
        "evaluated": evaluated,
        "headline": judgement.headline,
        "cards": _sort_findings(judgement.of, is_primary=True),
        "secondary": [finding for finding in judgement.findings if not finding.primary],
        "on_the_way": _find_on_the_way(metrics, evaluated),
        "words": WORDS,
        "language": name_language(str(report["language"] or "")),
        "has_controls": any(
            name.startswith(CONTROL_PREFIX) for entry in metrics for name in entry.get("stages") or ()
        ),
        "comparison": [
            _compare(entry, evaluated) | {"against": _face_controls(entry, report["controls"])}
            for entry in metrics
        ],
        "panels": panels,
        "losses": losses,
        "figures": panels + losses,
        "answers": _read_answers(answers, evaluated),
        "num_shown": NUM_SHOWN_ANSWERS,
        **build_facts(report),
    }


def _sort_findings(of: Any, *, is_primary: bool) -> dict[str, list[Any]]:
    """Group the findings by direction."""
    return {word: [finding for finding in of(word) if finding.primary is is_primary] for word in WORDS}


def _find_on_the_way(metrics: Sequence[Mapping[str, Any]], evaluated: Sequence[str]) -> list[str]:
    """Name what an earlier stage made worse than base beyond doubt, and what became of it."""
    sentences = []
    for entry in metrics:
        end = describe(entry).direction
        if not entry.get("primary") or end == "worse":
            continue
        worse = [name for name in evaluated[:-1] if _direction(entry, name) == "worse"]
        if worse:
            result = (
                "better than base" if end == "better" else "undecided" if end == "undecided" else "unknown"
            )
            sentences.append(
                f"{name_metric(entry)} was worse than base after {', '.join(worse)}; at the end: {result}."
            )
    return sentences


def _direction(entry: Mapping[str, Any], stage: str) -> Any:
    figure = (entry.get("stages") or {}).get(stage) or {}
    return find_direction(figure.get("difference"), higher_is_better=bool(entry.get("higher_is_better")))


def _figures(
    entry: Mapping[str, Any], evaluated: Sequence[str]
) -> list[tuple[str, Shape, Mapping[str, Any]]]:
    """List (name, shape, figure) of base, stages in the chain's order, others, then the controls."""
    stages = {name: figure or {} for name, figure in (entry.get("stages") or {}).items() if name != "base"}
    controls = [name for name in stages if name.startswith(CONTROL_PREFIX)]
    ordered = [*evaluated, *(name for name in stages if name not in evaluated and name not in controls)]
    rows: list[tuple[str, Shape, Mapping[str, Any]]] = [("base", "base", entry.get("base") or {})]
    rows += [(name, "stage", stages.get(name, {})) for name in ordered]
    return rows + [(name, "control", stages[name]) for name in controls]


def _compare(entry: Mapping[str, Any], evaluated: Sequence[str]) -> dict[str, Any]:
    """Make one metric's block of the table: a row for base, each stage, each control."""
    scale = scale_of(str(entry.get("unit", "")))
    figures = _figures(entry, evaluated)
    values = [read_number(figure.get("value")) for _, _, figure in figures]
    value_decimals = _decimals(scale, [value for value in values if value is not None])
    ends = [
        end
        for _, _, figure in figures
        for end in read_interval((figure.get("difference") or {}).get("ci95")) or ()
    ]
    difference_decimals = _decimals(scale, ends)
    rows = []
    for (name, shape, figure), value in zip(figures, values, strict=True):
        difference = figure.get("difference") or {}
        change = read_number(difference.get("value"))
        tone = "" if shape == "base" else _direction(entry, name)
        rows.append(
            {
                "name": name,
                "shape": shape,
                "is_last": bool(evaluated) and name == evaluated[-1],
                "value": "missing"
                if value is None
                else show_number(value * scale.factor, decimals=value_decimals),
                "interval": show_interval(figure.get("ci95"), scale=scale, decimals=value_decimals),
                "difference": ""
                if shape == "base"
                else show_number(
                    None if change is None else change * scale.factor,
                    decimals=difference_decimals,
                    signed=True,
                ),
                "difference_interval": ""
                if shape == "base"
                else show_interval(
                    difference.get("ci95"), scale=scale, decimals=difference_decimals, signed=True
                ),
                "p": show_p(read_number(difference.get("p"))),
                "holm": show_p(read_number(difference.get("p_holm")), name="Holm p"),
                "tone": tone,
                "word": WORDS.get(tone, ""),
            }
        )
    return {
        "label": name_metric(entry),
        "help": METRICS.get(str(entry.get("metric")), ("", ""))[1],
        "facts": _facts_line(entry, scale),
        "primary": bool(entry.get("primary")),
        "rows": rows,
    }


def _face_controls(entry: Mapping[str, Any], controls: Mapping[str, Any]) -> list[dict[str, str]]:
    """Say how the adapted model stands against each control on this metric."""
    found = []
    for control, entries in controls.items():
        for other in entries:
            if (other.get("task"), other.get("metric")) == (entry.get("task"), entry.get("metric")):
                finding = describe(other)
                text = f"{finding.change}; {finding.detail}"
                found.append({"control": control, "tone": finding.direction, "text": text})
    return found


def _facts_line(entry: Mapping[str, Any], scale: Scale) -> str:
    """Say unit, direction, items, clusters and unscored items of a metric."""
    parts = [
        scale.sign or scale.unit.strip() or "no unit",
        "higher is better" if entry.get("higher_is_better") else "lower is better",
        f"n = {entry.get('n', 'missing')}",
    ]
    if entry.get("clusters") and entry["clusters"] != entry.get("n"):
        parts.append(f"{entry['clusters']} clusters")
    parts += [f"{count} unscored: {reason}" for reason, count in (entry.get("unscored") or {}).items()]
    return " · ".join(parts)


def _decimals(scale: Scale, values: Sequence[float]) -> int:
    if scale.decimals is not None:
        return scale.decimals
    return decimals_for(*(value * scale.factor for value in values))


def _draw_panel(entry: Mapping[str, Any], evaluated: Sequence[str]) -> dict[str, Any] | None:
    """Draw one metric's forest plot; None where no model has a value."""
    rows = []
    for name, shape, figure in _figures(entry, evaluated):
        value = read_number(figure.get("value"))
        if value is None:
            continue
        tone = "plain" if shape == "base" else _direction(entry, name)
        rows.append(
            Whisker(
                label=name,
                value=value,
                interval=read_interval(figure.get("ci95")),
                shape=shape,
                tone=tone,
                word=WORDS.get(tone, ""),
            )
        )
    if not rows:
        return None
    label = name_metric(entry)
    return {
        "label": label,
        "note": "higher is better" if entry.get("higher_is_better") else "lower is better",
        "file": f"forest-{_slug(entry.get('task'))}-{_slug(entry.get('metric'))}.svg",
        "svg": draw_forest(
            rows, title=f"{label}: base and stages with 95% intervals", unit=str(entry.get("unit", ""))
        ),
    }


def _draw_stage(stage: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Draw one stage's loss curve; None where it has none."""
    unit = "nats per pair" if stage.get("kind") == "dpo" else "nats per token"
    svg = draw_losses(lines, title=f"{stage['name']}: training and held-out loss", unit=unit)
    if not svg:
        return None
    has_holdout = any(read_number(line.get("holdout_loss")) is not None for line in lines)
    note = "" if has_holdout else "nothing held out"
    return {"label": stage["name"], "note": note, "file": f"loss-{_slug(stage['name'])}.svg", "svg": svg}


def _read_answers(answers: Sequence[Mapping[str, Any]], evaluated: Sequence[str]) -> list[dict[str, Any]]:
    """Order each prompt's answers: base, stages, then the controls."""
    rows = []
    for number, entry in enumerate(answers, start=1):
        texts = entry.get("answers") or {}
        order = [name for name in ("base", *evaluated) if name in texts]
        order += [name for name in texts if name not in order]
        rows.append(
            {
                "number": number,
                "prompt": entry.get("prompt", ""),
                "topic": entry.get("topic") or "",
                "answers": [
                    (name, texts[name] or "") for name in order if not name.startswith(CONTROL_PREFIX)
                ],
                "controls": [(name, texts[name] or "") for name in order if name.startswith(CONTROL_PREFIX)],
            }
        )
    return rows


def _slug(text: object) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-") or "figure"
