"""Suites of benchmarks that lm-evaluation-harness runs: what is asked, from which data, with which shots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from adatta.core.errors import RecipeError
from adatta.core.fingerprint import canonical_json
from adatta.core.settings import Many, Settings
from adatta.core.yaml_source import packaged_names, packaged_yaml
from adatta.evals.suite import Metric

QUICK, QUICK_ITEMS = "quick-", 1000
_PACKAGE = "adatta.evals.suites"
_COLUMN = re.compile(r"\{(\w+)\}")

FormatName = Literal["rows", "italic", "squad", "arc", "truthfulqa", "include", "mmlu"]
Kind = Literal["str", "int", "list", "dict", "str?"]
Protocol = Literal["raw", "chat"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
Scorer = Literal["entities", "relations", "substitutes"]
BY_GROUP = "acc_by_group"
Row = dict[str, Any]


class DataSource(Settings):
    """Where the rows of a task come from, and what each must hold."""

    hub: str | None = None
    """Data set on the Hub, OWNER/NAME."""
    config: str | None = None
    """Its configuration."""
    split: str = Field(min_length=1)
    """The split that is scored."""
    files: Mapping[str, Many[str]] = {}
    """Patterns of the original release's files by split, below the folder of data; the first that fits."""
    format: FormatName = "rows"
    """How its files are laid out; rows are JSONL, JSON, CSV, TSV or Parquet with the columns below."""
    fields: Mapping[str, str] = {}
    """Our columns and what they are called in the files: {question: domanda}."""
    columns: Mapping[str, Kind] = {}
    """Columns that a row must have (`str?` may be missing), others are left out; empty: all as they are."""
    split_column: str | None = None
    """Column that names a row's split, where one file holds all splits."""


class ShotRule(Settings):
    """Which examples stand before each question: the same for all items, so that each item is asked alike."""

    count: int = Field(default=0, ge=0)
    """How many."""
    split: str = ""
    """Where from."""
    rule: Literal["first", "smallest-hash"] = "first"
    """The first rows, or those with the smallest SHA-256 of their normalised question."""


class HarnessTask(Settings):
    """One benchmark."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name in scores and report."""
    harness: str
    """Task of the harness behind its folder (`xcopa/xcopa_it`), or one of ours; {column} is a row's value."""
    data: DataSource
    """Its rows."""
    question: Many[str] = ()
    """Columns that are the question, by which items are chosen and compared with shots; empty: all."""
    shots: ShotRule = ShotRule()
    """Its examples."""
    metric: str = ""
    """The primary metric, as the harness names it: `acc`, or `exact_match,FILTER`."""
    metrics: Many[str] = ()
    """All that are kept; empty: all that the harness gives."""
    scorer: Scorer | None = None
    """The function of `evals.extraction` that measures an answer in the place of the harness' own."""
    num_rows: int | None = Field(default=None, ge=1)
    """How many rows the split was published with; another number is warned of."""
    chance: float | None = None
    """What guessing gives on the primary metric, where it is one number."""
    licence: str = ""
    """Of the data."""
    origin: Literal["native", "human translated", "machine translated", "generated"] | None = None
    """Where its Italian or English comes from."""
    cluster: str | None = None
    """Column with what items share, such as a passage."""
    group: str | None = None
    """Column with the kind of an item, for figures of each kind."""
    note: str = ""
    """Known defects, in a line."""
    quick: bool = True
    """Whether the quick suite asks it, too."""
    settings: Mapping[str, Any] = Field(default={}, exclude=True)
    """Configuration of a user's task as the harness takes it, or what is changed in one of its own."""
    definition: str = ""
    """Hash of those settings and of the files of their functions."""

    @model_validator(mode="after")
    def _columns_are_there(self) -> HarnessTask:
        unknown = {*self.question, self.cluster, self.group} - {None, *self.data.columns}
        if self.data.columns and unknown:
            raise ValueError(f"columns have no {', '.join(sorted(map(str, unknown)))}")
        return self

    def part(self, row: Row) -> str:
        """Name the task of the harness that asks a row."""
        return _COLUMN.sub(lambda found: re.sub(r"\W+", "_", str(row[found[1]]).lower()), self.harness)

    def question_text(self, row: Row) -> str:
        """Give what a row asks, in one text."""
        return "\n".join(str(row[name]) for name in self.question) if self.question else canonical_json(row)


class HarnessSuite(Settings):
    """A named set of benchmarks; `version` changes when the same data would give other scores."""

    name: str
    """Name in scores and report."""
    version: int = Field(ge=1)
    """Number of its newest change."""
    language: str
    """Tag of its language."""
    num_items: int | None = None
    """Items of all tasks together, in equal shares; None takes all."""
    protocols: Many[Protocol] = ()
    """How its benchmarks are asked; empty: as the recipe says."""
    tasks: Many[HarnessTask] = Field(min_length=1)
    """Its benchmarks, in the order of the report."""
    path: Path | None = Field(default=None, exclude=True)
    """The user's file, beside which the data are."""


def show_name(name: str, protocol: Protocol) -> str:
    """Give a task's name in scores and report, which tells its protocol."""
    return name if protocol == "raw" else f"{name} ({protocol})"


def list_harness_suites() -> tuple[str, ...]:
    """List the names of the suites, the quick one of each behind it."""
    return tuple(f"{quick}{name}" for name in packaged_names(_PACKAGE) for quick in ("", QUICK))


def load_harness_suite(name: str) -> HarnessSuite:
    """Return a suite by name; `quick-NAME` has 1,000 items of the same tasks, but for the slowest.

    Raises:
        RecipeError: There is no such suite.
    """
    if name not in list_harness_suites():
        raise RecipeError(f"unknown suite {name!r}; there are: {', '.join(list_harness_suites())}")
    suite = HarnessSuite.model_validate(packaged_yaml(_PACKAGE, f"{name.removeprefix(QUICK)}.yaml"))
    if not name.startswith(QUICK):
        return suite
    tasks = tuple(task for task in suite.tasks if task.quick)
    return suite.model_copy(update={"name": name, "num_items": QUICK_ITEMS, "tasks": tasks})


def find_benchmark_metric(suite: str, task: str, *, name: str, first: str) -> Metric:
    """Describe a metric of a benchmark; all that we keep are better when higher.

    Args:
        suite: A suite's name.
        task: A task's, as `show_name` gives it.
        name: Of the metric, as the harness calls it.
        first: The metric that comes first in the task's scores: the primary one of a user's benchmark.
    """
    plain = task.removesuffix(" (chat)")
    tasks = load_harness_suite(suite).tasks if suite in list_harness_suites() else ()
    primary = {each.name: each.metric for each in tasks}.get(plain, first)
    kind = {"macro_f1": "macro_f1", "mcc": "mcc", BY_GROUP: "group_mean"}.get(name, "share")
    return Metric(
        name=name,
        primary=name == primary,
        unit="" if name in ("macro_f1", "mcc") else "share",
        kind=kind,  # type: ignore[arg-type]  # checked above
        may_miss=True,
    )
