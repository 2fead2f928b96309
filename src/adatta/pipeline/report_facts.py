"""The facts of a report as texts: stages, data, cost, use, provenance, merging, limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
MAX_CHARS = 300


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
        "warnings": [f"{stage['name']}: {warning}" for stage in stages for warning in stage["warnings"]],
        "num_primary": sum(entry["primary"] for entry in report["metrics"]),
        "num_unscored": sum(sum(entry["unscored"].values()) for entry in report["metrics"]),
    }


def _describe_stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what a stage did, in the words of a table."""
    counts, results, settings = (stage[key] for key in ("counts", "results", "settings"))
    holdout = [point["loss"] for point in results.get("holdout", ())]
    reasons = counts.get("quarantined_by_reason", {})
    by_reason = ", ".join(f"{name} {count}" for name, count in reasons.items())
    is_training = "steps" in results
    return {
        "name": stage["name"],
        "kind": KINDS.get(stage["kind"], stage["kind"]),
        "method": results.get("method") or settings.get("method") or "",
        "summary": ", ".join(_summarise(settings)),
        "counts": counts,
        "numbers": counts | results,
        "reasons": "; ".join(filter(None, (by_reason, show_losses(counts)))),
        "loss": _show_change(results["first_loss"], results["last_loss"]) if is_training else "",
        "holdout_loss": _show_change(holdout[0], holdout[-1]) if holdout else "",
        "settings": json.dumps(settings, ensure_ascii=False, indent=1, default=str),
        "is_training": is_training,
    }


def _summarise(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings that a reader asks for first."""
    if "adapter" in settings and settings["method"] != "full":
        yield f"rank {settings['adapter']['rank']}, alpha {settings['adapter']['alpha']}"
        if settings["adapter"]["rslora"]:
            yield "rslora"
    if "beta" in settings:
        yield f"beta {settings['beta']}"
    if "optimizer" in settings:
        yield f"{settings['optimizer']['name']} {show_figure(settings['optimizer']['lr'])}"
        yield settings["schedule"]["name"]
        yield f"{settings['batch']['rows']} rows a step"
    for unit, amount in settings.get("budget", {}).items():
        if amount is not None:
            yield f"{show_figure(amount)} {unit}"
    for key in ("suites", "formats"):
        if settings.get(key):
            yield f"{key}: {', '.join(map(str, settings[key]))}"


def _show_change(first: Any, last: Any) -> str:
    return f"{show_number(read_number(first))} → {show_number(read_number(last))}"


def describe_layouts(source: Mapping[str, Any]) -> str:
    """Say which layouts a source's rows have, and which of their keys nothing reads.

    Args:
        source: of a training stage, as the record keeps it.
    """
    return describe_shapes(source["shapes"]) + describe_unread(source["ignored"])


def describe_shapes(shapes: Mapping[str, int]) -> str:
    """Say how many rows have each layout."""
    kinds = shapes.items()
    found = [f"{num} row{'s' * (num != 1)} ({shape or 'of no known layout'})" for shape, num in kinds]
    return ", ".join(found) or "no rows"


def describe_unread(ignored: Mapping[str, int]) -> str:
    """Name the keys that nothing reads, to be put behind something else; nothing where there are none."""
    keys = ", ".join(f"{key} ({num})" for key, num in ignored.items())
    return f"; keys that nothing reads: {keys}" if keys else ""


def show_given(value: Any, *, decimals: int | None = None) -> str:
    """Write a number as `show_number` does; nothing where there is none."""
    number = read_number(value)
    return "" if number is None else show_number(number, decimals=decimals)


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


def _figures_of(stage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """List the figures of merging, quantisation and parity that a stage recorded."""
    results = stage["results"]
    return _flatten(results.get("merge" if "steps" in results else "parity", {}))


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
    made = report["provenance"]
    rows = [
        ("command", made["command"]),
        ("made", _show_time(report["created"])),
        ("base model", report["model"]["name"]),
    ]
    models = [stage["model"] for stage in report["stages"] if stage["model"]]
    rows += [("base model's hash", first["fingerprint"]) for first in models[:1]]
    rows += [(f"fingerprint of {entry['name']}", entry["fingerprint"]) for entry in report["artefacts"]]
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


def shorten(text: str, max_chars: int = MAX_CHARS) -> str:
    """Cut a long text at a space, for a table or a list."""
    return text if len(text) <= max_chars else f"{text[:max_chars].rsplit(maxsplit=1)[0]} …"


FILTERS: dict[str, Callable[[Any], str]] = {
    "count": partial(show_given, decimals=0),
    "rate": show_given,
    "seconds": show_seconds,
    "bytes": show_bytes,
    "shorten": shorten,
    "layouts": describe_layouts,
    "pairs": lambda found: describe_pairs(found)[0],
}
"""What the templates write numbers with."""
