"""The verdict in words: what got better, worse or was held, from paired intervals alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from adatta.lang.profile import list_profiles, load_profile
from adatta.pipeline.numbers import (
    NO_BREAK,
    interval_of,
    scale_of,
    show_interval,
    show_number,
    show_p,
    value_of,
)

Direction = Literal["better", "worse", "held", "undecided", "missing"]
WORDS = {
    "better": "better",
    "worse": "worse",
    "held": "not worse by more than the margin",
    "undecided": "no difference shown",
    "missing": "no interval",
}
ALPHA = 0.05  # of Holm's tests over a family: the primary figures of a language, declared before the run
SHORT_WORDS = WORDS | {"held": "within margin", "undecided": "not shown"}  # for plots
METRICS = {
    "bits_per_byte": (
        "bits per byte",
        "How many bits the model needs for each byte of text it has not seen.",
    ),
    "accuracy": ("accuracy", "Share of items where the right option is the most likely one."),
    "accuracy_sum": ("accuracy, summed", "The same items by summed log-probability, not per byte."),
    "language_fidelity": ("language fidelity", "Share of free answers written in the language asked for."),
    "language_fidelity_sure": (
        "language fidelity, where it can be told",
        "The same without answers that are too short to tell, or whose language is unclear.",
    ),
    "language_by_line": ("answers in the language line by line", "Share of answers whose every line is."),
    "line_accuracy": ("lines in the language", "Mean share of an answer's lines in the language."),
    "stop_share": ("answers that end by themselves", "Share of free answers that end before the limit."),
    "consistency": ("same choice at every letter", "Share of items with one choice wherever it stands."),
    "acc": ("accuracy", "Share of items where the right option has the largest log-probability."),
    "acc_norm": ("accuracy a character", "The same by log-probability for each character."),
    "acc_ties": ("accuracy, ties shared", "The same; a tie of k options counts 1/k."),
    "macro_f1": ("macro F1", "Mean over the labels of the harmonic mean of precision and recall."),
    "mcc": ("Matthews' correlation", "Correlation of right and given labels; 0 is guessing."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one metric says about the adapted model against its base."""

    label: str
    direction: Direction
    primary: bool
    change: str
    detail: str

    @property
    def sentence(self) -> str:
        """The finding as one sentence."""
        return f"{self.label}: {self.change}; {self.detail}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict: a headline and the findings behind it, primary ones first."""

    headline: str
    findings: tuple[Finding, ...]

    def of(self, direction: str) -> tuple[Finding, ...]:
        """Return the findings of one direction."""
        return tuple(finding for finding in self.findings if finding.direction == direction)


def name_language(tag: str) -> str:
    """Name a language in English; one without a profile keeps its tag."""
    return load_profile(tag).english_name if tag in list_profiles() else tag


def name_metric(entry: Mapping[str, Any]) -> str:
    """Name a report entry for a reader: language, task, metric.

    Args:
        entry: one entry of `metrics`.

    Returns:
        Such as `Italian questions, accuracy`; a task named as its metric is named once.
    """
    tag, task, metric = entry["language"], entry["task"], entry["metric"]
    words = " ".join(part for part in task.replace("-", "_").split("_") if part != tag)
    metric_words = METRICS.get(metric, (metric.replace("_", " "), ""))[0]
    named = f"{words}, {metric_words}" if words and words != metric.replace("_", " ") else metric_words
    language = name_language(tag)
    return f"{language} {named}" if language else named[:1].upper() + named[1:]


def find_direction(entry: Mapping[str, Any], difference: Mapping[str, Any] | None) -> Direction:
    """Decide better or worse where the interval of the paired difference excludes 0 and Holm's test agrees.

    A figure without Holm p belongs to no family (a secondary one, a control): its interval alone decides.

    Args:
        entry: the entry of `metrics`: which way is good, and the margin within which a figure is held.
        difference: `{"value", "ci95", "p_holm", ...}` of a model minus its base, or None.

    Returns:
        `missing` where there is no usable interval; where neither is decided, `held` if the interval's bad
        end is within the margin and something differs, else `undecided`.

    Source: Holm 1979, at 5%.
    """
    bounds = interval_of(difference)
    if difference is None or bounds is None:
        return "missing"
    (low, high), higher_is_better, margin = bounds, entry["higher_is_better"], entry.get("margin")
    if low == high == 0.0:
        return "undecided"  # nothing differs, which says less than the interval
    if not low <= 0.0 <= high and (difference.get("p_holm") or 0.0) < ALPHA:
        return "better" if (low > 0.0) == higher_is_better else "worse"
    loss = -low if higher_is_better else high
    return "held" if margin is not None and loss < margin else "undecided"


def describe(entry: Mapping[str, Any]) -> Finding:
    """Put one report entry into words: base, adapted and their paired difference.

    Args:
        entry: one entry of `metrics`; `adapted` or `difference` may be None.

    Returns:
        The finding; a missing figure makes it `missing`.
    """
    scale, difference = scale_of(entry["unit"]), entry["difference"] or {}
    base, adapted = value_of(entry["base"]), value_of(entry["adapted"])
    direction = find_direction(entry, difference)
    if base is None or adapted is None:
        direction = "missing"
    decimals = scale.decimals_for(base, adapted)
    before, after = (
        scale.show(value, decimals=decimals) + scale.sign * (value is not None) for value in (base, adapted)
    )
    change = f"{before} → {after}{'' if scale.sign else scale.unit}"
    if not scale.sign and base and adapted is not None:
        change += f" ({show_number(100 * (adapted / base - 1), decimals=1, signed=True)}%)"
    return Finding(
        label=name_metric(entry),
        direction=direction,
        primary=entry["primary"],
        change=change,
        detail=_detail(entry, difference, direction),
    )


def _detail(entry: Mapping[str, Any], difference: Mapping[str, Any], direction: Direction) -> str:
    """Say difference, interval, p and n; and what the interval leaves open."""
    scale = scale_of(entry["unit"])
    items = f"n{NO_BREAK}={NO_BREAK}{entry['n']}"
    if direction == "missing":
        reasons = {reason for key in ("base", "adapted") if (reason := (entry[key] or {}).get("not_run"))}
        why = f"not run: {', '.join(reasons)}" if reasons else "no paired interval"
        return f"{why}, so nothing is claimed, {items}"
    bounds = interval_of(difference)
    decimals = scale.decimals_for(*(bounds or ()))
    shown = scale.show(value_of(difference), decimals=decimals, signed=True)
    interval = show_interval(bounds, scale=scale, decimals=decimals, signed=True)
    p, adjusted = difference["p"], difference["p_holm"]
    parts = [f"difference {shown}{scale.difference_unit}", f"unadjusted 95% interval {interval}"]
    parts += [show_p(p), show_p(adjusted, name="Holm p"), items]
    if bounds == (0.0, 0.0):
        parts.append("no item differs")
    elif direction in ("undecided", "held"):
        is_left = bounds is not None and not bounds[0] <= 0.0 <= bounds[1]
        left = "excludes 0, but Holm's correction leaves no difference shown"
        parts.append(f"the interval {left if is_left else f'holds{NO_BREAK}0'}")
    if direction == "held":
        margin = scale.show(entry["margin"], decimals=decimals)
        parts.append(f"the interval ends within the margin of {margin}{scale.difference_unit}")
    elif direction in ("better", "worse") and (p or 0.0) >= ALPHA:
        parts.append("weak: the interval excludes 0, the test at 5% doesn't")
    return ", ".join(part for part in parts if part)


def judge(metrics: Sequence[Mapping[str, Any]], *, is_compared: bool) -> Judgement:
    """Judge the adapted model against its base.

    Args:
        metrics: the entries of report.json.
        is_compared: whether anything beside the base was to be evaluated.

    Returns:
        The headline (primary metrics only) and all findings, primary ones first.
    """
    if not metrics:
        return Judgement(headline="Nothing was measured, so nothing is claimed.", findings=())
    if not is_compared:
        headline = "Only the base model was measured, so there is nothing to compare."
        return Judgement(headline=headline, findings=())
    findings = tuple(sorted(map(describe, metrics), key=lambda finding: not finding.primary))
    headline = _headline([finding for finding in findings if finding.primary])
    return Judgement(headline=headline, findings=findings)


def _headline(primary: Sequence[Finding]) -> str:
    """Count the primary findings, worse as plainly as better."""
    if not primary:
        return "No primary figure was measured, so nothing can be said."
    total, counts = len(primary), Counter[str](finding.direction for finding in primary)
    words = {0: "none"} | ({total: "all"} if total > 1 else {})
    better, worse, held, undecided, missing = (words.get(counts[word], str(counts[word])) for word in WORDS)
    corrected = " after Holm's correction," * (total > 1)
    text = (
        f"Of {total} primary figure{'s' * (total > 1)},{corrected} the adapted model is better than base on"
    )
    rest = [f"on {held} not worse by more than the margin"] if counts["held"] else []
    if counts["undecided"]:
        rest.append(f"on {undecided} no difference is shown with this many items")
    if counts["missing"]:
        rest.append(f"{missing} {'has' if counts['missing'] == 1 else 'have'} no interval")
    return f"{text} {better}, worse on {worse}{'; ' * bool(rest)}{', and '.join(rest)}."
