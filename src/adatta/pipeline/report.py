"""Gather what a run holds and write its report: one HTML page, Markdown, JSON and the plots as files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import Artefact, write_atomic, write_json
from adatta.core.events import read_metrics
from adatta.core.records import BASE, is_control
from adatta.core.settings import MarginSettings
from adatta.pipeline.context import Context
from adatta.pipeline.extra_figures import find_forgetting
from adatta.pipeline.gate import check_report
from adatta.pipeline.plan import list_evaluated
from adatta.pipeline.regressions import find_regressions
from adatta.pipeline.report_facts import FILTERS
from adatta.pipeline.report_view import build_view
from adatta.pipeline.verdict import WORDS, describe, find_direction, judge

if TYPE_CHECKING:
    from jinja2 import Template

    from adatta.core.records import Score
    from adatta.evals.harness_run import Benchmarks
    from adatta.evals.suite import Suite

SCHEMA = 1
STAGE_KEYS = ("name", "kind", "fingerprint", "settings", "counts", "results", "seeds", "warnings")
ARTEFACT_KEYS = ("name", "kind", "fingerprint", "version", "created", "parents", "files")
COST_KEYS = ("name", "time_s", "tokens_per_s", "scored_tokens_per_s", "peak_memory_bytes")

Figures = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """All that a report is made from; nothing is read from disk or measured again.

    `recipe` is the resolved recipe, `stages` its stages before the report, `evaluated` the models that it
    measures, `records` the chain's record.json contents in order, `metrics` the entries of report.json,
    `controls` the same kind of entries with a control in the place of the base, by control, `clean` the
    same over items that stand in no training row, `regressions` what `find_regressions` gives,
    `forgetting` and `calibration` what `find_forgetting` and `describe_calibration` give, `overlap` what
    training rows hold of the suites' items, `answers` the free answers `{"prompt", "topic", "answers":
    {stage: text}}` in the order of the fixed list, `curves` the lines of metrics.jsonl by stage,
    `exported` the bytes of each exported file by the path that the reader sees, `created` an ISO 8601
    time.
    """

    recipe: Mapping[str, Any]
    stages: Sequence[str]
    evaluated: Sequence[str]
    records: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    controls: Mapping[str, Sequence[Mapping[str, Any]]]
    clean: Sequence[Mapping[str, Any]]
    regressions: Sequence[Mapping[str, Any]]
    forgetting: Sequence[Mapping[str, Any]]
    calibration: Sequence[Mapping[str, Any]]
    overlap: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    versions: Mapping[str, str]
    exported: Mapping[str, int]
    command: str
    created: str


def gather(context: Context, done: Mapping[str, Artefact], *, margin: MarginSettings) -> ReportInputs:
    """Collect the inputs of a chain's report.

    Args:
        context: the run.
        done: its artefacts, by stage name, in order.
        margin: within which a figure counts as held.

    Returns:
        Everything that the report shows.
    """
    from adatta.evals.calibration import describe_calibration
    from adatta.evals.scores import read_scores

    evaluated = [artefact for artefact in done.values() if artefact.record["kind"] == "evaluate"]
    scores = [score for artefact in evaluated for score in read_scores(artefact.folder / "scores.parquet")]
    metrics, controls = compare_all(scores)
    suites = {suite.name: suite for named in context.suites.values() for suite in named}
    protocols = {(suite.name, task): how for suite in suites.values() for task, how in suite.protocols()}
    metrics = [
        entry | {"margin": find_margin(entry, margin), "protocol": protocols[entry["suite"], entry["task"]]}
        for entry in metrics
    ]
    dirty = {item for _, _, item, _ in context.overlap["dirty"]}
    touched = {score.task for score in scores if score.item_id in dirty}
    clean = [score for score in scores if score.item_id not in dirty] if touched else []
    return ReportInputs(
        recipe=context.recipe.model_dump(mode="json", by_alias=True),
        stages=[stage.name for stage in context.recipe.stages if stage.kind != "report"],
        evaluated=list_evaluated(context.recipe),
        records=[artefact.record for artefact in done.values()],
        metrics=metrics,
        controls=controls,
        clean=[entry for entry in compare_all(clean)[0] if entry["task"] in touched],
        regressions=find_regressions(scores, metrics=metrics, suites=suites.values()),
        forgetting=find_forgetting(
            scores, metrics=metrics, suites=suites.values(), language=context.recipe.language
        ),
        calibration=describe_calibration(scores),
        overlap=context.overlap,
        answers=free_answers(scores, suites.values()),
        curves={name: read_metrics(artefact.folder / "metrics.jsonl") for name, artefact in done.items()},
        versions=next(iter(done.values())).record["packages"] if done else {},
        exported={
            f"{artefact.folder.name}/{path}": size
            for artefact in done.values()
            for path, size in artefact.record["results"].get("exported", {}).items()
        },
        command=f"adatta run {context.path}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def compare_all(scores: Sequence[Score]) -> tuple[Figures, dict[str, Figures]]:
    """Compare every model of the scores with the base, and the chain's last one with each control.

    Args:
        scores: of base, stages and controls.

    Returns:
        The `metrics` of report.json, empty without scores; and the same by control, on what it was asked,
        the control in the place of the base.
    """
    from adatta.evals.compare import compare

    names = dict.fromkeys(score.stage for score in scores)
    stages = [name for name in names if name != BASE and not is_control(name)]
    scored = {score.stage for score in scores if score.status == "scored"}
    controls = [name for name in names if is_control(name) and name in scored and stages]
    return compare(scores, base_stage=BASE, stages=stages) if scores else [], {
        name: compare(scores, base_stage=name, stages=stages[-1:]) for name in controls
    }


def find_margin(entry: Mapping[str, Any], margin: MarginSettings) -> float | None:
    """Return by how much a figure may be worse and count as held, in its unit; None for no such claim."""
    if entry["metric"] == "bits_per_byte":
        return float(margin.bits_per_byte * entry["base"]["value"])
    return margin.share if entry["unit"] in ("share", "") else None


def not_held(report: Mapping[str, Any]) -> list[str]:
    """List why a guard says no: primary figures of other languages that aren't shown to be better or held.

    Args:
        report: the content of report.json.

    Returns:
        A line a figure; one line where there is no such figure at all.
    """
    others = [
        entry for entry in report["metrics"] if entry["primary"] and entry["language"] != report["language"]
    ]
    lost = [describe(entry).sentence for entry in others if not _is_held(entry)]
    return lost if others else ["nothing was measured in another language"]


def _is_held(entry: Mapping[str, Any]) -> bool:
    """Tell whether a figure is better or held; where no share changed, n must be large enough to say so.

    Source: exact upper bound of a share of 0 in n (Clopper and Pearson 1934).
    """
    if not entry["difference"] or entry["difference"]["ci95"] != [0.0, 0.0]:
        return find_direction(entry, entry["difference"]) in ("better", "held")
    return bool(entry["unit"] != "share" or 1 - 0.025 ** (1 / entry["n"]) < entry["margin"])


def free_answers(scores: Sequence[Score], suites: Iterable[Suite | Benchmarks]) -> list[dict[str, Any]]:
    """Put the free answers of all models side by side.

    Args:
        scores: with the answers' text as `output`.
        suites: what was asked.

    Returns:
        `{"prompt", "topic", "answers": {stage: text}}`, in the order of the fixed list.
    """
    from adatta.evals.suite import AnswerTask, Suite

    answers: dict[str, dict[str, str]] = {}
    for score in scores:
        if score.output is not None and score.metric == "language_fidelity":
            answers.setdefault(score.item_id, {})[score.stage] = score.output
    own = [(suite.tasks, suite.items()) for suite in suites if answers and isinstance(suite, Suite)]
    return [
        {"prompt": task.task.prompt(item), "topic": item.fields.get("topic", "")}
        | {"answers": answers[item.item_id]}
        for tasks, items in own
        for task in tasks
        if isinstance(task.task, AnswerTask)
        for item in items[task.name]
        if item.item_id in answers
    ]


def build_report(inputs: ReportInputs) -> dict[str, Any]:
    """Put together the content of report.json.

    Args:
        inputs: all that the report is made from.

    Returns:
        A value for JSON, valid under report.schema.json; `problems` lists what is missing.
    """
    records = inputs.records
    judgement = judge(inputs.metrics, is_compared=len(inputs.evaluated) > 1)
    costs = [_pick(record["results"] | record, COST_KEYS) for record in records]
    runtimes = [record["runtime"] for record in records]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "name": inputs.recipe["name"],
        "created": inputs.created,
        "language": inputs.recipe["language"],
        "model": inputs.recipe["model"],
        "expected": {"stages": inputs.stages, "evaluated": inputs.evaluated},
        "verdict": {"headline": judgement.headline}
        | {word: [finding.sentence for finding in judgement.of(word)] for word in WORDS},
        "metrics": inputs.metrics,
        "controls": inputs.controls,
        "clean": inputs.clean,
        "regressions": inputs.regressions,
        "forgetting": inputs.forgetting,
        "calibration": inputs.calibration,
        "stages": [
            {**_pick(record, STAGE_KEYS), "model": record["inputs"].get("model")} for record in records
        ],
        "artefacts": [_pick(record, ARTEFACT_KEYS) for record in records],
        "exported": inputs.exported,
        "cost": {
            "time_s": sum(cost["time_s"] for cost in costs),
            "peak_memory_bytes": max((cost["peak_memory_bytes"] for cost in costs), default=0),
            "stages": costs,
        },
        "data": [
            {"stage": record["name"], **row} for record in records for row in record["inputs"].get("data", ())
        ],
        "overlap": inputs.overlap,
        "provenance": {
            "versions": inputs.versions,
            "runtimes": [one for place, one in enumerate(runtimes) if one not in runtimes[:place]],
            "seeds": {"recipe": inputs.recipe["seed"]},
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
    view["reading"] = read_text("reading.jinja").splitlines()
    view["limits"] = [*load_template("limits.jinja").render(view).splitlines(), *view["warnings"]]
    (out_dir / "figures").mkdir(parents=True, exist_ok=True)
    chart_css = read_text("chart.css")
    for figure in view["figures"]:
        wide = figure["svg"].replace("<svg ", '<svg width="704" ', 1)
        styled = wide.replace(">", f"><style>{chart_css}</style>", 1)
        write_atomic(out_dir / "figures" / figure["file"], styled)
    page = render_page("report.html.jinja", view, styles=("chart.css", "report.css"))
    write_atomic(out_dir / "report.html", page)
    write_atomic(out_dir / "report.md", load_template("report.md.jinja").render(view))
    write_json(out_dir / "report.json", report)
    return report


def render_page(name: str, view: Mapping[str, Any], *, styles: Sequence[str]) -> str:
    """Render an HTML page: one file, no network, no scripts; every text is escaped.

    Args:
        name: the template's file.
        view: what it prints.
        styles: files of CSS.
    """
    return load_template(name).render(view, css="".join(map(read_text, styles)))


@cache
def load_template(name: str) -> Template:
    """Load a page of this package; every text that is put into one of HTML is escaped."""
    from jinja2 import Environment, StrictUndefined

    is_html = name.endswith(".html.jinja")
    environment = Environment(
        autoescape=is_html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
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
