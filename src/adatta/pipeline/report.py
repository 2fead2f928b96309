"""Write a run's report: one HTML page, Markdown, JSON and the plots as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import write_atomic, write_json
from adatta.pipeline.gate import check_report
from adatta.pipeline.plan import TRAINING
from adatta.pipeline.report_facts import FILTERS
from adatta.pipeline.report_view import build_view
from adatta.pipeline.verdict import WORDS, judge

if TYPE_CHECKING:
    from jinja2 import Template

SCHEMA = 1
STAGE_KEYS = ("name", "kind", "fingerprint", "settings", "counts", "results", "seeds", "warnings")
ARTEFACT_KEYS = ("name", "kind", "fingerprint", "version", "created", "parents", "files")
COST_KEYS = ("name", "time_s", "tokens_per_s", "scored_tokens_per_s", "peak_memory_bytes")


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
    seen: Counter[str] = Counter()
    stages = []
    for kind, settings in (pair for entry in recipe.get("stages") or () for pair in entry.items()):
        seen[kind] += 1
        stages.append((kind if seen[kind] == 1 else f"{kind}-{seen[kind]}", kind, settings or {}))
    return stages


def build_report(inputs: ReportInputs) -> dict[str, Any]:
    """Put together the content of report.json.

    Args:
        inputs: all that the report is made from.

    Returns:
        A value for JSON, valid under report.schema.json; `problems` lists what is missing.
    """
    stages, records = name_stages(inputs.recipe), inputs.records
    every = ["base", *(name for name, kind, _ in stages if kind in TRAINING)]
    asked = [settings.get("models") or every for _, kind, settings in stages if kind == "evaluate"]
    evaluated = list(dict.fromkeys(name for names in asked for name in names))
    judgement = judge(inputs.metrics, is_compared=any(name != "base" for name in evaluated))
    costs = [_pick({**(record.get("results") or {}), **record}, COST_KEYS) for record in records]
    runtimes = [record["runtime"] for record in records if record.get("runtime")]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "name": inputs.name,
        "created": inputs.created,
        "language": inputs.recipe.get("language"),
        "model": dict(inputs.recipe.get("model") or {}),
        "expected": {
            "stages": [name for name, kind, _ in stages if kind != "report"],
            "evaluated": evaluated,
        },
        "verdict": {"headline": judgement.headline}
        | {word: [finding.sentence for finding in judgement.of(word)] for word in WORDS},
        "metrics": [dict(entry) for entry in inputs.metrics],
        "controls": {name: [dict(entry) for entry in entries] for name, entries in inputs.controls.items()},
        "stages": [
            {**_pick(record, STAGE_KEYS), "model": (record.get("inputs") or {}).get("model")}
            for record in records
        ],
        "artefacts": [_pick(record, ARTEFACT_KEYS) for record in records],
        "exported": dict(inputs.exported),
        "cost": {
            "time_s": sum(cost["time_s"] or 0.0 for cost in costs),
            "peak_memory_bytes": max((cost["peak_memory_bytes"] or 0 for cost in costs), default=0),
            "stages": costs,
        },
        "data": [
            {"stage": record.get("name"), **row}
            for record in records
            for row in (record.get("inputs") or {}).get("data") or ()
        ],
        "overlap": dict(inputs.overlap),
        "provenance": {
            "versions": dict(inputs.versions),
            "runtimes": [one for place, one in enumerate(runtimes) if one not in runtimes[:place]],
            "seeds": {"recipe": inputs.recipe.get("seed")},
            "command": inputs.command,
        },
    }
    return report | {"problems": check_report(report)}


def _pick(record: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: record.get(key) for key in keys}


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
    limits = load_template("limits.jinja", escapes=False).render(view).splitlines()
    view["limits"] = [*limits, *view["warnings"]]
    (out_dir / "figures").mkdir(parents=True, exist_ok=True)
    chart_css = read_text("chart.css")
    for figure in view["figures"]:
        wide = figure["svg"].replace("<svg ", '<svg width="704" ', 1)
        styled = wide.replace(">", f"><style>{chart_css}</style>", 1)
        write_atomic(out_dir / "figures" / figure["file"], styled)
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


@cache
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
    environment.filters |= {**FILTERS, "md": escape_markdown}
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
