"""The facts of a report as texts: stages, data, cost, use, provenance, merging, limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from adatta.pipeline.numbers import read_number, show_bytes, show_losses, show_number, show_seconds
from adatta.pipeline.preferences import describe_pairs

KINDS = {
    "sft": "fine-tuning on conversations",
    "dpo": "alignment with preferences",
    "adapt": "adaptation to text",
    "evaluate": "base and stages on the same items",
    "export": "files to use elsewhere",
}
# Longer tables of figures stay in report.json.
MAX_FIGURES = 12


def build_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the report's facts into texts.

    Args:
        report: the content of report.json.

    Returns:
        Tables and lists by the name that the templates use.
    """
    stages = report["stages"]
    return {
        "stages": [_describe_stage(stage) for stage in stages],
        "created": _show_time(report["created"]),
        "figures_of_merging": [
            {"stage": stage["name"], "rows": rows} for stage in stages if (rows := list(_figures_of(stage)))
        ],
        "provenance": _list_provenance(report),
        "warnings": [
            f"{stage['name']}: {warning}" for stage in stages for warning in stage.get("warnings") or ()
        ],
        "num_primary": sum(bool(entry.get("primary")) for entry in report["metrics"]),
        "num_unscored": sum(
            count for entry in report["metrics"] for count in (entry.get("unscored") or {}).values()
        ),
    }


def _describe_stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what a stage did, in the words of a table."""
    counts, results, settings = (stage.get(key) or {} for key in ("counts", "results", "settings"))
    holdout = [read_number(point.get("loss")) for point in results.get("holdout") or ()]
    reasons = counts.get("quarantined_by_reason") or {}
    by_reason = ", ".join(f"{name} {count}" for name, count in reasons.items())
    is_training = "steps" in results
    return {
        "name": stage["name"],
        "kind": KINDS.get(str(stage.get("kind")), stage.get("kind")),
        "method": results.get("method") or settings.get("method") or "",
        "summary": ", ".join(_summarise(settings)),
        "counts": counts,
        "numbers": counts | results,
        "reasons": "; ".join(filter(None, (by_reason, show_losses(counts)))),
        "loss": _show_change(results.get("first_loss"), results.get("last_loss")) if is_training else "",
        "holdout_loss": _show_change(holdout[0], holdout[-1]) if holdout else "",
        "settings": json.dumps(settings, ensure_ascii=False, indent=1, default=str),
        "is_training": is_training,
    }


def _summarise(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings that a reader asks for first."""
    adapter, optimizer, schedule, batch, budget = (
        settings.get(key) or {} for key in ("adapter", "optimizer", "schedule", "batch", "budget")
    )
    if adapter and settings.get("method") != "full":
        yield f"rank {adapter.get('rank')}, alpha {adapter.get('alpha')}"
        if adapter.get("rslora"):
            yield "rslora"
    if "beta" in settings:
        yield f"beta {settings['beta']}"
    if optimizer:
        yield f"{optimizer.get('name', '')} {show_figure(optimizer.get('lr'))}"
    if schedule:
        yield str(schedule.get("name"))
    if batch:
        yield f"{batch.get('rows')} rows a step"
    for unit, amount in budget.items():
        if amount is not None:
            yield f"{show_figure(amount)} {unit}"
    for key in ("suites", "formats"):
        if settings.get(key):
            yield f"{key}: {', '.join(map(str, settings[key]))}"


def _show_change(first: Any, last: Any) -> str:
    return f"{show_number(read_number(first))} → {show_number(read_number(last))}"


def show_count(value: Any) -> str:
    """Write a count with thousands separated; nothing where there is none."""
    number = read_number(value)
    return "" if number is None else show_number(number, decimals=0)


def show_figure(value: Any) -> str:
    """Write any recorded value: numbers with three digits (tiny ones as powers of ten), the rest as text."""
    number = read_number(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if number is None:
        return "–" if value is None else str(value)
    if number and abs(number) < 1e-3:
        mantissa, _, exponent = f"{number:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")
    return show_number(number, decimals=0) if number == int(number) else show_number(number)


def show_rate(value: Any) -> str:
    """Write how many of something there are in a second; nothing where it isn't known."""
    number = read_number(value)
    return "" if number is None else show_number(number)


def _figures_of(stage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """List the figures of merging, quantisation and parity that a stage recorded."""
    results = stage.get("results") or {}
    merge = results.get("merge") if "steps" in results else results.get("parity")
    return _flatten(merge or {})


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(inner, Mapping) and len(inner) <= MAX_FIGURES:
            yield from _flatten(inner, f"{name}: ")
        elif isinstance(inner, Mapping | list | tuple):
            yield name, f"{len(inner)} entries, in report.json"
        else:
            yield name, show_figure(inner)


def _list_provenance(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what made this report, so that it can be made again."""
    made, model = report["provenance"], report["model"]
    rows = [
        ("command", made["command"]),
        ("made", _show_time(report["created"])),
        ("base model", str(model.get("name", ""))),
    ]
    models = [stage["model"] for stage in report["stages"] if stage.get("model")]
    rows += [("base model's hash", str(first.get("fingerprint", ""))) for first in models[:1]]
    rows += [(f"fingerprint of {entry['name']}", str(entry["fingerprint"])) for entry in report["artefacts"]]
    rows += [("seeds", _join(made["seeds"])), *(("machine", _join(one)) for one in made["runtimes"])]
    rows.append(("packages", _join(made["versions"], sign=" ")))
    return [(name, value) for name, value in rows if value]


def _show_time(created: str) -> str:
    """Write an ISO 8601 time in UTC as `2026-02-11 09:31 UTC`; another text as it is."""
    return f"{created[:10]} {created[11:16]} UTC" if created.endswith(("+00:00", "Z")) else created


def _join(values: Mapping[str, Any], *, sign: str = ": ") -> str:
    return ", ".join(
        f"{str(key).replace('_', ' ')}{sign}{value}" for key, value in values.items() if value is not None
    )


FILTERS: dict[str, Callable[[Any], str]] = {
    "count": show_count,
    "rate": show_rate,
    "seconds": show_seconds,
    "bytes": show_bytes,
    "pairs": lambda found: describe_pairs(found)[0],
}
"""What the templates write numbers with."""
