"""The parts of a report as a reader sees them, for HTML and Markdown: numbers as texts, plots drawn."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from adatta.core.records import is_control
from adatta.pipeline.charts import Shape, Whisker, draw_forest, draw_losses
from adatta.pipeline.numbers import Scale, interval_of, read_number, scale_of, show_interval, show_p, value_of
from adatta.pipeline.report_facts import build_facts
from adatta.pipeline.verdict import (
    METRICS,
    SHORT_WORDS,
    WORDS,
    describe,
    find_direction,
    judge,
    name_language,
    name_metric,
)

NUM_SHOWN_ANSWERS = 10

_Figure = tuple[str, Shape, Mapping[str, Any]]
"""A model's name, its shape in plots, and its figure."""


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
    metrics = sorted(report["metrics"], key=lambda entry: not entry["primary"])
    judgement = judge(metrics, is_compared=bool(evaluated))
    panels = [_draw_panel(entry, evaluated) for entry in metrics if entry["primary"]]
    drawn = (_draw_stage(stage, curves.get(stage["name"], ())) for stage in report["stages"])
    losses = list(filter(None, drawn))
    changes = list(_draw_changes(metrics))
    return {
        "report": report,
        "evaluated": evaluated,
        "headline": judgement.headline,
        "cards": {word: [finding for finding in judgement.of(word) if finding.primary] for word in WORDS},
        "not_run": list(_list_not_run(metrics, evaluated)),
        "families": Counter(name_language(entry["language"]) for entry in metrics if entry["primary"]),
        "secondary": [finding for finding in judgement.findings if not finding.primary],
        "on_the_way": list(_find_on_the_way(metrics, evaluated)),
        "words": WORDS,
        "language": name_language(report["language"]),
        "has_controls": any(is_control(name) for entry in metrics for name in entry["stages"]),
        "comparison": [
            _compare(entry, evaluated) | {"against": list(_face_controls(entry, report["controls"]))}
            for entry in metrics
        ],
        "benchmarks": list_benchmarks(report["stages"]),
        "fertility": list(_list_fertility(report["stages"])),
        "changes": changes,
        "clean": [_compare(entry, evaluated) for entry in report["clean"] if entry["primary"]],
        "panels": panels,
        "losses": losses,
        "figures": changes + panels + losses,
        "answers": [_read_answer(number, entry, evaluated) for number, entry in enumerate(answers, start=1)],
        "num_shown": NUM_SHOWN_ANSWERS,
        **build_facts(report),
    }


def list_benchmarks(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List how each public benchmark was asked, or why it wasn't, as the first model met it.

    Args:
        stages: those of report.json.
    """
    rows: dict[str, dict[str, Any]] = {}
    told = (stage["results"].get("benchmarks", {}) for stage in stages if stage["results"])
    for entry in chain.from_iterable(chain.from_iterable(models.values() for models in told)):
        counts = [f"{name.replace('_', ' ')} {n}" for name, n in entry.get("counts", {}).items() if n]
        if entry.get("leaks"):
            counts.append(f"{len(entry['leaks'])} share words with a shot")
        shots = entry.get("shots", {})
        facts = {
            "task": entry["task"],
            "how": entry.get("reason") or f"{shots['count']}-shot ({shots['rule']}), {entry['protocol']}",
            "data": f"{entry['source']} {entry['revision'][:12]}" if "source" in entry else "",
            "origin": ", ".join(filter(None, (entry.get("origin"), entry.get("licence")))),
            "counts": ", ".join(counts),
            "note": entry.get("note", ""),
            "is_run": entry["status"] == "run",
        }
        rows.setdefault(entry["task"], facts)
    return list(rows.values())


def _list_fertility(stages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the tokenizers' figures by model and text, those that say the same as the base's left out."""
    for stage in stages:
        models: Mapping[str, Mapping[str, Any]] = (stage["results"] or {}).get("fertility", {})
        for name, tasks in models.items():
            if name == "base" or tasks != models.get("base"):
                yield from ({"model": name, "task": task, **figures} for task, figures in tasks.items())


def _find_on_the_way(metrics: Sequence[Mapping[str, Any]], evaluated: Sequence[str]) -> Iterator[str]:
    """Name what an earlier stage made worse than base beyond doubt, and what became of it."""
    results = {**WORDS, "better": "better than base", "missing": "unknown"}
    results.pop("worse")
    for entry in metrics:
        result = results.get(describe(entry).direction)
        worse = ", ".join(name for name in evaluated[:-1] if _direction(entry, name) == "worse")
        if entry["primary"] and result and worse:
            yield f"{name_metric(entry)} was worse than base after {worse}; at the end: {result}."


def _list_not_run(metrics: Sequence[Mapping[str, Any]], evaluated: Sequence[str]) -> Iterator[str]:
    """Name each task that a model wasn't asked, and why."""
    missed: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for entry, (name, _, figure) in ((e, found) for e in metrics for found in _figures(e, evaluated)):
        if "not_run" in figure:
            missed[entry["task"], figure["not_run"]][name] = None
    yield from (f"{task} of {', '.join(names)}: {why}" for (task, why), names in missed.items())


def _direction(entry: Mapping[str, Any], stage: str) -> str:
    return find_direction(entry, entry["stages"].get(stage, {}).get("difference"))


def _figures(entry: Mapping[str, Any], evaluated: Sequence[str]) -> list[_Figure]:
    """List base, stages in the chain's order, then the controls."""
    figures: list[_Figure] = [("base", "base", entry["base"])]
    for name in dict.fromkeys((*evaluated, *entry["stages"])):
        shape: Shape = "control" if is_control(name) else "stage"
        figures.append((name, shape, entry["stages"].get(name, {})))
    return figures


def _compare(entry: Mapping[str, Any], evaluated: Sequence[str]) -> dict[str, Any]:
    """Make one metric's block of the table: a row for base, each stage, each control."""
    scale, figures = scale_of(entry["unit"]), _figures(entry, evaluated)
    decimals = scale.decimals_for(*(value_of(figure) for _, _, figure in figures))
    ends = [end for _, _, figure in figures for end in interval_of(figure.get("difference")) or ()]
    signed: dict[str, Any] = {"decimals": scale.decimals_for(*ends), "signed": True}
    rows = []
    for name, shape, figure in figures:
        shown, difference = _show_figure(figure, scale, decimals=decimals), figure.get("difference") or {}
        is_bare = shape == "base" or "not_run" in {**entry["base"], **figure}
        interval = show_interval(difference.get("ci95"), scale=scale, **signed)
        tone = "" if is_bare else _direction(entry, name)
        is_alone = tone in ("better", "worse") and difference.get("p_holm") is None
        row = {
            "name": name,
            "shape": shape,
            "is_last": name in evaluated[-1:],
            "value": shown[0],
            "interval": shown[1],
            "difference": "" if is_bare else scale.show(value_of(difference), **signed),
            "difference_interval": "" if is_bare else interval,
            "p": show_p(difference.get("p")),
            "holm": show_p(difference.get("p_holm"), name="Holm p"),
            "tone": tone,
            "word": WORDS.get(tone, "") + ", unadjusted" * is_alone,
        }
        rows.append(row)
    return {
        "entry": entry,
        "label": name_metric(entry),
        "help": METRICS.get(entry["metric"], ("", ""))[1],
        "facts": " · ".join(_list_facts(entry, scale.sign or scale.unit.strip() or "no unit")),
        "primary": entry["primary"],
        "rows": rows,
        "groups": _compare_groups(entry, [name for name, _, _ in figures]) if entry["primary"] else None,
    }


def _show_figure(figure: Mapping[str, Any], scale: Scale, *, decimals: int) -> tuple[str, str]:
    """Write a figure's value and interval, or why there is none."""
    value = value_of(figure)
    if value is None:
        return f"not run: {figure['not_run']}" if "not_run" in figure else "missing", ""
    interval = show_interval(figure.get("ci95"), scale=scale, decimals=decimals)
    return scale.show(value, decimals=decimals), interval


def _compare_groups(entry: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """Make the table of each kind of item by itself: a line a kind, value and interval a model."""
    groups: Mapping[str, Any] = entry.get("groups") or {}
    shown = [name for name in names if any(name in models for models in groups.values())]
    if not shown:
        return None
    scale = scale_of(entry["unit"])
    figures = [[models.get(name) for name in shown] for models in groups.values()]
    decimals = scale.decimals_for(*(value_of(figure) for row in figures for figure in row))
    cells = [
        [_show_figure(figure, scale, decimals=decimals) if figure else ("", "") for figure in row]
        for row in figures
    ]
    sizes = [max(figure["n"] for figure in models.values()) for models in groups.values()]
    labels = [group.replace("_", " ") for group in groups]
    return {"models": shown, "rows": list(zip(labels, sizes, cells, strict=True))}


def _face_controls(entry: Mapping[str, Any], controls: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Say how the adapted model stands against each control on this metric."""
    for control, entries in controls.items():
        for other in entries:
            if (other["task"], other["metric"]) == (entry["task"], entry["metric"]) and other["difference"]:
                finding = describe(other)
                word = WORDS[finding.direction] + ", unadjusted" * (finding.direction in ("better", "worse"))
                text = f"{finding.change}; {finding.detail}"
                yield {"control": control, "tone": finding.direction, "word": word, "text": text}


def _list_facts(entry: Mapping[str, Any], unit: str) -> Iterator[str]:
    """Say unit, direction, items, clusters and unscored items of a metric."""
    yield from filter(None, (entry.get("protocol"), unit, _say_better(entry)))
    yield f"n = {entry['n']}"
    if entry["clusters"] != entry["n"]:
        yield f"{entry['clusters']} clusters"
    yield from (f"{count} unscored: {reason}" for reason, count in entry["unscored"].items())


def _say_better(entry: Mapping[str, Any]) -> str:
    return "higher is better" if entry["higher_is_better"] else "lower is better"


def _draw_panel(entry: Mapping[str, Any], evaluated: Sequence[str]) -> dict[str, Any]:
    """Draw one metric's forest plot."""
    rows = []
    for name, shape, figure in _figures(entry, evaluated):
        value, tone = value_of(figure), "plain" if shape == "base" else _direction(entry, name)
        if value is not None:
            word, interval = SHORT_WORDS.get(tone, ""), interval_of(figure)
            rows.append(
                Whisker(label=name, value=value, interval=interval, shape=shape, tone=tone, word=word)
            )
    label, file = name_metric(entry), f"forest-{_slug(entry['task'])}-{_slug(entry['metric'])}.svg"
    svg = draw_forest(rows, title=f"{label}: base and stages with 95% intervals", unit=entry["unit"])
    return {"label": label, "note": _say_better(entry), "file": file, "svg": svg}


def _draw_changes(metrics: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Draw the differences of all primary figures side by side: bits in % of the base, others in points."""
    for unit, of_base, units in (("points", False, ("share", "")), ("% of the base", True, ("bits/byte",))):
        rows = []
        for entry in metrics:
            difference, base = entry["difference"] or {}, value_of(entry["base"])
            value, interval = value_of(difference), interval_of(difference)
            if not entry["primary"] or entry["unit"] not in units or value is None or base is None:
                continue
            factor = (100.0 if entry["higher_is_better"] else -100.0) / (base if of_base else 1.0)
            ends = sorted(factor * end for end in interval) if interval else None
            tone = find_direction(entry, difference)
            rows.append(
                Whisker(
                    label=_label(entry),
                    value=factor * value,
                    interval=(ends[0], ends[1]) if ends else None,
                    shape="stage",
                    tone=tone,
                    word=SHORT_WORDS[tone],
                )
            )
        if rows:
            title = (
                f"Differences to the base in {unit}, with unadjusted 95% intervals; to the right is better"
            )
            svg = draw_forest(rows, title=title, unit=unit, are_changes=True)
            yield {"label": title, "note": "", "file": f"changes-{_slug(unit)}.svg", "svg": svg}


def _label(entry: Mapping[str, Any]) -> str:
    """Name a task with its language, as shortly as a plot needs it."""
    name, tag = entry["task"], entry["language"]
    return name if f"_{tag}" in name else f"{name} ({tag})"


def _draw_stage(stage: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Draw one stage's loss curve; None where it has none."""
    unit = "nats per pair" if stage["kind"] == "dpo" else "nats per token"
    svg = draw_losses(lines, title=f"{stage['name']}: training and held-out loss", unit=unit)
    has_holdout = any(read_number(line.get("holdout_loss")) is not None for line in lines)
    note = "" if has_holdout else "nothing held out"
    file = f"loss-{_slug(stage['name'])}.svg"
    return {"label": stage["name"], "note": note, "file": file, "svg": svg} if svg else None


def _read_answer(number: int, entry: Mapping[str, Any], evaluated: Sequence[str]) -> dict[str, Any]:
    """Order a prompt's answers: base, stages, then the controls."""
    texts = entry["answers"]
    answers = [(name, texts[name]) for name in dict.fromkeys(("base", *evaluated, *texts)) if name in texts]
    return {
        **entry,
        "number": number,
        "answers": [pair for pair in answers if not is_control(pair[0])],
        "controls": [pair for pair in answers if is_control(pair[0])],
    }


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "figure"
