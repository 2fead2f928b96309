"""Compare models item by item: the `metrics` of report.json."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adatta.core.errors import EvalError
from adatta.core.records import NO_TEMPLATE, Score, is_control
from adatta.core.registry import load_registry
from adatta.evals import statistics
from adatta.evals.corpus import FIGURES, Labelled, corpus_estimate
from adatta.evals.harness_suite import find_benchmark_metric
from adatta.evals.pairs import Rows, pair_scores, score_value
from adatta.evals.statistics import Estimate
from adatta.evals.suite import Metric, load_tasks

MIN_ITEMS = 30  # below it no interval is claimed for a mean of scores that aren't shares

Figure = dict[str, Any]


def compare(scores: Iterable[Score], *, base_stage: str, stages: Sequence[str]) -> list[Figure]:
    """Compare the base with each stage's result over the items that both were scored on.

    Intervals of shares are Wilson's (cluster-robust t where items share clusters), of bits per byte the
    widened bootstrap of clusters, mostly documents. Differences are paired, stage minus base. p-values:
    exact McNemar where all scores are right or wrong, else sign flips by cluster; `p_holm` adjusts the
    primary metrics of one language and stage. With a control as `base_stage` the stages are compared to it,
    and `p_holm` is None.

    Args:
        scores: Of every model; the stages that aren't asked for are left out, controls come in by themselves.
        base_stage: What the others are compared to.
        stages: In the order of the chain; the last one is the adapted model.

    Returns:
        One entry a task and metric, in the order of the scores. `n` counts the items that base and adapted
        were both scored on (without stages: the base), `groups` the figures of each kind of item by model,
        `unscored` the items by each reason in any model. A figure of a model without the
        chat template that the task needs is `not_run`; where that is the base, it isn't primary.

    Raises:
        EvalError: A stage has no scores, or not those of the base's items; a model has no scored item on a
            task by its primary metric; prompts or items differ.
    """
    table = _tabulate(scores)
    present = {stage for by_stage in table.values() for stage in by_stage}
    if missing := [stage for stage in (base_stage, *stages) if stage not in present]:
        raise EvalError(f"no scores of {', '.join(missing)}; there are: {', '.join(sorted(present))}")
    entries = []
    firsts = {(suite, task): name for suite, task, name in reversed(table)}
    for (suite, task, name), by_stage in table.items():
        metric = _find_metric(suite, task, name, firsts[suite, task])
        if metric.may_miss:
            _fill_missing(by_stage, (base_stage, *stages))
        base = by_stage.get(base_stage)
        if not base or (is_control(base_stage) and not _has_scored(base)):
            continue  # a control is asked some tasks only, and may have no room for its examples
        if lost := [stage for stage in stages if stage not in by_stage]:
            raise EvalError(
                f"{', '.join(lost)} has no {name} of {task}, but {base_stage} has; evaluate it again"
            )
        controls = [s for s in by_stage if is_control(s) and s not in (base_stage, *stages)]
        asked = {stage: by_stage[stage] for stage in (*stages, *controls) if stage in by_stage}
        shown = {stage: rows for stage, rows in asked.items() if stage in stages or _has_scored(rows)}
        entry = _compare_metric(metric, base, shown, adapted=stages[-1] if stages else None)
        entries.append(entry | {"unscored": _count_reasons([base, *asked.values()])})
    asked_raw = {(entry["suite"], entry["task"]) for entry in entries}
    for entry in entries:  # one ability counts once: the chat form of a task stands beside its plain one
        plain = entry["task"].removesuffix(" (chat)")
        entry["primary"] &= plain == entry["task"] or (entry["suite"], plain) not in asked_raw
        entry["primary"] &= "not_run" not in entry["base"]  # nothing can be compared with it
    if not is_control(base_stage):
        _adjust(entries)
    return entries


def _fill_missing(by_stage: dict[str, dict[str, Score]], stages: Sequence[str]) -> None:
    """Give models that a task failed for an unscored row an item, so that they stand in the table."""
    asked = next(iter(by_stage.values()))
    reason = "the task failed for this model"
    for stage in (name for name in stages if name not in by_stage and not is_control(name)):
        by_stage[stage] = {
            item: replace(row, stage=stage, status="failed", reason=reason, score=None, output=None)
            for item, row in asked.items()
        }


def _tabulate(scores: Iterable[Score]) -> dict[tuple[str, str, str], dict[str, dict[str, Score]]]:
    """Arrange scores as suite, task and metric -> stage -> item."""
    table: dict[tuple[str, str, str], dict[str, dict[str, Score]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        rows = table[score.suite, score.task, score.metric][score.stage]
        if score.item_id in rows:
            raise EvalError(
                f"item {score.item_id} of {score.task} has two scores for {score.metric} of {score.stage}; "
                "give the scores of one evaluation"
            )
        rows[score.item_id] = score
    return table


def _find_metric(suite: str, task: str, name: str, first: str) -> Metric:
    """Find a metric: one of ours means the same in every task, one of the harness what its benchmark says."""
    for kind in load_tasks().values():
        for metric in kind.metrics:
            if metric.name == name:
                return metric
    if suite in (own.name for own in load_registry("adatta.evals.suites").values()):
        raise EvalError(f"no task has a metric {name}; evaluate again with this version")
    return find_benchmark_metric(suite, task, name=name, first=first)


def _compare_metric(metric: Metric, base: Rows, shown: Mapping[str, Rows], *, adapted: str | None) -> Figure:
    first = next(iter(base.values()))
    figures = {}
    for stage, rows in shown.items():
        pairs = pair_scores(base, rows)
        figures[stage] = {**_describe(metric, rows), "difference": _difference(metric, pairs)}
    adapted_rows = shown.get(adapted or "", base)
    counted = [row for row, _ in pair_scores(base, adapted_rows)]
    last = figures.get(adapted or "")
    return {
        "suite": first.suite,
        "task": first.task,
        "language": first.language,
        "metric": metric.name,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "primary": metric.primary,
        "n": len(counted),
        "clusters": len({row.cluster_id for row in counted}),
        "base": _describe(metric, base),
        "adapted": {key: value for key, value in last.items() if key != "difference"} if last else None,
        "difference": last["difference"] if last else None,
        "stages": figures,
        "groups": _describe_groups(metric, {"base": base, **shown}),
    }


def _has_scored(rows: Rows) -> bool:
    return any(row.status == "scored" for row in rows.values())


def _describe(metric: Metric, rows: Rows) -> Figure:
    scored = [row for row in rows.values() if row.status == "scored"]
    if {row.reason for row in rows.values()} == {NO_TEMPLATE}:
        return {"value": None, "ci95": None, "not_run": NO_TEMPLATE}
    if not scored and (metric.may_miss or not metric.primary):
        return {"value": None, "ci95": None}
    if not scored:
        row = next(iter(rows.values()))
        raise EvalError(f"{row.task}: {row.stage} has no scored item ({row.reason}); nothing to compare")
    values, clusters = [score_value(row) for row in scored], [row.cluster_id for row in scored]
    if metric.kind == "bits_per_byte":
        estimate = statistics.ratio_estimate(_pool(_bits(scored), scored), _pool(_bytes(scored), scored))
    elif metric.kind in FIGURES:
        estimate = corpus_estimate(metric.kind, _labels(scored), clusters=clusters)
    elif metric.kind == "group_mean":
        estimate = statistics.stratified_mean(values, _groups(scored))
    else:
        estimate = statistics.mean_estimate(values, clusters=clusters)
        if metric.kind == "share" and len(set(clusters)) == len(clusters):
            estimate = estimate._replace(interval=statistics.wilson(sum(values), len(values)))
    return _write(metric, estimate, scored, low=0.0)


def _describe_groups(metric: Metric, models: Mapping[str, Rows]) -> dict[str, dict[str, Figure]]:
    """Describe each kind of item by itself, for every model that was scored on one."""
    groups: dict[str, dict[str, Figure]] = defaultdict(dict)
    if metric.kind in FIGURES or metric.kind == "group_mean":
        return {}  # the group is the gold label; the figure is made of groups that stand beside it
    for name, rows in models.items():
        scored = {item: row for item, row in rows.items() if row.group and row.status == "scored"}
        for group in sorted({str(row.group) for row in scored.values()}):
            members = {item: row for item, row in scored.items() if row.group == group}
            groups[group][name] = _describe(metric, members) | {"n": len(members)}
    return dict(groups)


def _difference(metric: Metric, pairs: Sequence[tuple[Score, Score]]) -> Figure | None:
    """Estimate stage minus base over pairs; None where no item was scored for both."""
    if not pairs:
        return None
    base, stage = zip(*pairs, strict=True)
    clusters = [row.cluster_id for row in base]
    if metric.kind == "bits_per_byte":
        if _bytes(base) != _bytes(stage):
            raise EvalError(f"{base[0].task}: different items, their bytes differ; evaluate both again")
        deltas = [s - b for s, b in zip(_bits(stage), _bits(base), strict=True)]
        estimate = statistics.ratio_estimate(_pool(deltas, base), _pool(_bytes(base), base))
        p: float | None = statistics.sign_flip(deltas, clusters=clusters)
    elif metric.kind in FIGURES:
        estimate = corpus_estimate(metric.kind, _labels(stage), base=_labels(base), clusters=clusters)
        p = estimate.p
    else:
        estimate, p = _compare_means(metric, base, stage)
    figure = _write(metric, estimate, pairs, low=-1.0) | {"p": p, "p_holm": None, "n": len(pairs)}
    values = [(score_value(row), score_value(other)) for row, other in pairs]
    if metric.kind == "share" and {value for pair in values for value in pair} <= {0.0, 1.0}:
        figure["discordant"] = sum(one != other for one, other in values) / len(values)
    return figure


def _compare_means(metric: Metric, base: Sequence[Score], stage: Sequence[Score]) -> tuple[Estimate, float]:
    clusters = [row.cluster_id for row in base]
    before, after = [score_value(row) for row in base], [score_value(row) for row in stage]
    deltas = [a - b for a, b in zip(after, before, strict=True)]
    if metric.kind == "group_mean":
        groups = _groups(base)
        sizes = Counter(groups)
        weighted = [delta / sizes[group] for delta, group in zip(deltas, groups, strict=True)]
        return statistics.stratified_mean(deltas, groups), statistics.sign_flip(weighted, clusters=clusters)
    estimate = statistics.paired_difference(before, after, clusters=clusters)
    if {*before, *after} <= {0.0, 1.0} and len(set(clusters)) == len(clusters):
        return estimate, statistics.mcnemar(deltas.count(-1.0), deltas.count(1.0))
    return estimate, statistics.sign_flip(deltas, clusters=clusters)


def _groups(rows: Sequence[Score]) -> list[str]:
    return [str(row.group) for row in rows]


def _labels(rows: Sequence[Score]) -> Labelled:
    return Labelled(_groups(rows), [str(row.output) for row in rows])


def _adjust(entries: Sequence[Figure]) -> None:
    """Fill `p_holm`: one family a stage and language, of the primary metrics; controls have none.

    The family is what was to be measured: a figure that has no difference stays in it, with p = 1.
    """
    families: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for entry in entries:
        for stage, figure in entry["stages"].items():
            if entry["primary"] and not is_control(stage):
                families[stage, entry["language"]].append(figure["difference"] or {"p": 1.0})
    for family in families.values():
        adjusted = statistics.holm([difference["p"] for difference in family])
        for difference, p in zip(family, adjusted, strict=True):
            difference["p_holm"] = p


def _count_reasons(models: Sequence[Rows]) -> dict[str, int]:
    items: dict[str, set[str]] = defaultdict(set)
    for rows in models:
        for item, row in rows.items():
            if row.status != "scored":
                items[row.reason or row.status].add(item)
    return {reason: len(found) for reason, found in sorted(items.items())}


def _write(metric: Metric, estimate: Estimate, items: Sequence[Any], *, low: float) -> Figure:
    """Write an estimate over items; the interval of a share ends at its bounds, `low` and 1."""
    ci95 = None if estimate.interval is None else list(estimate.interval)
    if metric.kind in ("share", "group_mean") and ci95:
        ci95 = [max(low, ci95[0]), min(1.0, ci95[1])]
    if metric.kind == "mean" and len(items) < MIN_ITEMS:
        ci95 = None
    return {"value": estimate.value, "ci95": ci95}


def _pool(values: Sequence[float], rows: Sequence[Score]) -> list[float]:
    """Add up the values of each cluster: documents that belong together are drawn together."""
    sums: dict[str, float] = defaultdict(float)
    for value, row in zip(values, rows, strict=True):
        sums[row.cluster_id] += value
    return list(sums.values())


def _bits(rows: Sequence[Score]) -> list[float]:
    return [score_value(row) * num_bytes for row, num_bytes in zip(rows, _bytes(rows), strict=True)]


def _bytes(rows: Sequence[Score]) -> list[float]:
    for row in rows:
        if not row.num_bytes:
            raise EvalError(f"item {row.item_id} of {row.task} has no bytes; evaluate again")
    return [float(row.num_bytes or 0) for row in rows]
