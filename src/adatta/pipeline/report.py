"""Write a run's report: one HTML page, Markdown, JSON and the plots as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import write_atomic, write_json
from adatta.pipeline.gate import check_report
from adatta.pipeline.report_view import build_view
from adatta.pipeline.verdict import WORDS, judge

if TYPE_CHECKING:
    from jinja2 import Template

SCHEMA = 1
TRAINING_KINDS = ("sft", "dpo", "adapt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """All that a report is made from; nothing is read from disk or measured again.

    `recipe` is the resolved recipe, `records` the chain's record.json contents in order, `metrics` the
    entries of report.json, `controls` the same kind of entries with a control in the place of the base, by
    control, `overlap` what training rows hold of the suites' items, `answers` the free answers `{"prompt",
    "topic", "answers": {stage: text}}` in the order of the fixed list, `curves` the lines of metrics.jsonl
    by stage, `exported` the bytes of each exported file by the path that the reader sees, `created` an ISO
    8601 time.
    """

    name: str
    recipe: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    controls: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    overlap: Mapping[str, Any] = field(default_factory=lambda: {"counts": [], "longest": []})
    answers: Sequence[Mapping[str, Any]] = ()
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    exported: Mapping[str, int] = field(default_factory=dict)
    command: str = ""
    created: str = ""


def name_stages(recipe: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Name the stages of a resolved recipe: the kind, and `kind-2` for the second of a kind.

    Args:
        recipe: the resolved recipe, its `stages` a list of `{kind: settings}`.

    Returns:
        (name, kind, settings) in order.
    """
    seen: dict[str, int] = {}
    stages = []
    for entry in recipe.get("stages") or ():
        kind, settings = next(iter(entry.items()))
        seen[kind] = seen.get(kind, 0) + 1
        stages.append((kind if seen[kind] == 1 else f"{kind}-{seen[kind]}", kind, settings or {}))
    return stages


def build_report(inputs: ReportInputs) -> dict[str, Any]:
    """Put together the content of report.json.

    Args:
        inputs: all that the report is made from.

    Returns:
        A value for JSON, valid under report.schema.json; `problems` lists what is missing.
    """
    stages = name_stages(inputs.recipe)
    trained = [name for name, kind, _ in stages if kind in TRAINING_KINDS]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "name": inputs.name,
        "created": inputs.created,
        "language": inputs.recipe.get("language"),
        "model": dict(inputs.recipe.get("model") or {}),
        "expected": {
            "stages": [name for name, kind, _ in stages if kind != "report"],
            "evaluated": _expect_evaluated(stages, trained),
        },
        "verdict": {},
        "metrics": [dict(entry) for entry in inputs.metrics],
        "controls": {name: [dict(entry) for entry in entries] for name, entries in inputs.controls.items()},
        "stages": [_describe_stage(record) for record in inputs.records],
        "artefacts": [
            {
                key: record.get(key)
                for key in ("name", "kind", "fingerprint", "version", "created", "parents", "files")
            }
            for record in inputs.records
        ],
        "exported": dict(inputs.exported),
        "cost": _sum_cost(inputs.records),
        "data": [
            {"stage": record.get("name"), **row}
            for record in inputs.records
            for row in (record.get("inputs") or {}).get("data") or ()
        ],
        "overlap": dict(inputs.overlap),
        "provenance": {
            "versions": dict(inputs.versions),
            "runtimes": _distinct(record.get("runtime") for record in inputs.records),
            "seeds": {"recipe": inputs.recipe.get("seed")},
            "command": inputs.command,
        },
    }
    judgement = judge(
        inputs.metrics, is_compared=any(name != "base" for name in report["expected"]["evaluated"])
    )
    report["verdict"] = {"headline": judgement.headline} | {
        word: [finding.sentence for finding in judgement.of(word)] for word in WORDS
    }
    report["problems"] = check_report(report)
    return report


def _expect_evaluated(
    stages: Sequence[tuple[str, str, Mapping[str, Any]]], trained: Sequence[str]
) -> list[str]:
    """List the models that the recipe evaluates: base and every training stage unless it names some."""
    names: dict[str, None] = {}
    for _, kind, settings in stages:
        if kind == "evaluate":
            names |= dict.fromkeys(settings.get("models") or ["base", *trained])
    return list(names)


def _describe_stage(record: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("name", "kind", "fingerprint", "settings", "counts", "results", "seeds", "warnings")
    return {key: record.get(key) for key in keys} | {"model": (record.get("inputs") or {}).get("model")}


def _sum_cost(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up times and take the largest memory; a stage's own figures stand beside."""
    stages = [
        {
            "name": record.get("name"),
            "time_s": record.get("time_s"),
            "tokens_per_s": (record.get("results") or {}).get("tokens_per_s"),
            "scored_tokens_per_s": (record.get("results") or {}).get("scored_tokens_per_s"),
            "peak_memory_bytes": record.get("peak_memory_bytes"),
        }
        for record in records
    ]
    return {
        "time_s": sum(stage["time_s"] or 0.0 for stage in stages),
        "peak_memory_bytes": max((stage["peak_memory_bytes"] or 0 for stage in stages), default=0),
        "stages": stages,
    }


def _distinct(values: Any) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if value and value not in kept:
            kept.append(value)
    return kept


def write_report(inputs: ReportInputs, out_dir: Path) -> dict[str, Any]:
    """Write report.html, report.md, report.json and figures/*.svg.

    Args:
        inputs: all that the report is made from.
        out_dir: the stage's folder; made if it isn't there.

    Returns:
        The content of report.json.
    """
    report = build_report(inputs)
    view = build_view(report, answers=inputs.answers, curves=inputs.curves)
    (out_dir / "figures").mkdir(parents=True, exist_ok=True)
    chart_css = read_text("chart.css")
    for figure in view["figures"]:
        svg = (
            figure["svg"]
            .replace("<svg ", '<svg width="704" ', 1)
            .replace(">", f"><style>{chart_css}</style>", 1)
        )
        write_atomic(out_dir / "figures" / figure["file"], svg)
    write_atomic(out_dir / "report.html", render_html(view))
    write_atomic(out_dir / "report.md", render_markdown(view))
    write_json(out_dir / "report.json", report)
    return report


def render_html(view: Mapping[str, Any]) -> str:
    """Render the page: one file, no network, no scripts; every text is escaped."""
    from markupsafe import Markup

    css = Markup(read_text("chart.css") + read_text("report.css"))
    return load_template("report.html.jinja", escapes=True).render(view, css=css, markup=Markup)


def render_markdown(view: Mapping[str, Any]) -> str:
    """Render the same report as Markdown; every text is escaped where it stands in a table or a line."""
    return load_template("report.md.jinja", escapes=False).render(view)


def load_template(name: str, *, escapes: bool) -> Template:
    """Load a page of this package.

    Args:
        name: its file.
        escapes: whether every text that is put in is escaped for HTML.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=escapes, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["md"] = escape_markdown
    return environment.from_string(read_text(name))


def escape_markdown(value: object) -> str:
    r"""Escape a text for one line of Markdown or a cell of a table: no markup, no HTML, no line breaks.

    Example:
        >>> escape_markdown("a|b <script>")
        'a\\|b &lt;script&gt;'
    """
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_[]|#~":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def read_text(name: str) -> str:
    """Read a text file of this package."""
    return resources.files("adatta.pipeline").joinpath(name).read_text(encoding="utf-8")
