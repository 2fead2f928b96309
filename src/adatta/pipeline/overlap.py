"""Compare the rows of every training source with the items of every suite in the recipe."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adatta.core.errors import OverlapError, Problem
from adatta.core.problems import Problems
from adatta.core.records import Row
from adatta.pipeline.report_facts import shorten

if TYPE_CHECKING:
    from adatta.data.overlap import ItemText, Leak
    from adatta.evals.harness_run import Benchmarks
    from adatta.evals.suite import Suite

BLOCKING = ("exact", "strong")
NUM_LONGEST = 10
MAX_MATCH_CHARS = 160

Places = Mapping["ItemText", Sequence[tuple[str, str, str]]]
"""Where an item's text stands: suite, task and item id, more than once where suites share it."""


class SuiteOverlap:
    """Looks at training rows one by one and tells which items of the recipe's suites stand in them."""

    def __init__(self, suites: Iterable[Suite | Benchmarks]) -> None:
        """Read the items of the suites.

        Args:
            suites: those of the recipe; one that stands twice counts once.

        Raises:
            RowError: a suite's files have mistakes.
            DataError: a suite's file can't be opened.
        """
        from adatta.data.overlap import LeakFinder

        self._places = _read_items({suite.content_hash(): suite for suite in suites}.values())
        self._finder = LeakFinder(tuple(self._places))
        self._stages: dict[str, str] = {}

    def look(self, row: Row, *, stage: str, source: str) -> None:
        """Look at a row; a file that several stages read is looked at once.

        Args:
            row: a row without a mistake.
            stage: the stage that reads it.
            source: its file, as it is shown.
        """
        from adatta.data.contents import list_contents

        if self._places and self._stages.setdefault(source, stage) == stage:
            text = "\n".join(content.text for content in list_contents(row))
            self._finder.look(text, source=source, where=f"{source}:{row.origin.line}")

    def require_none(self) -> None:
        """Refuse to train on what is measured.

        Raises:
            OverlapError: rows hold questions of items; each is told with its row and the longest match.
        """
        problems = Problems()
        for leak, (suite, task, item_id) in self._located():
            if leak.kind in BLOCKING:
                more = f", and {leak.num_rows - 1} more rows" if leak.num_rows > 1 else ""
                what = (
                    f"{leak.kind} match with {suite}/{task}, item {item_id}{more}: {leak.num_words} words in "
                    f"a row, {leak.covered_share:.0%} of the item: {shorten(leak.text, MAX_MATCH_CHARS)}"
                )
                hint = "take the row out of training, or set on_overlap: report"
                problems.append(Problem(where=leak.rows[0], what=what, hint=hint, reason="leak"))
        if len(problems):
            raise OverlapError(problems.shortened())

    def summary(self) -> dict[str, Any]:
        """Return, for the record, `counts` by source, suite and kind, the ten longest matches, and `dirty`.

        Items that are `too_short` can't be judged; dirty ones, `[suite, task, item id, kind]`, stand in a row
        as a whole or for the most part.
        """
        from adatta.data.overlap import LEAK_KINDS, is_too_short

        located = self._located()
        longest = sorted(located, key=lambda pair: pair[0].num_words, reverse=True)[:NUM_LONGEST]
        found = Counter((leak.source, suite, leak.kind) for leak, (suite, _, _) in located)
        sizes = Counter(suite for places in self._places.values() for suite, _, _ in places)
        short = Counter(
            suite for item, places in self._places.items() if is_too_short(item) for suite, _, _ in places
        )
        return {
            "counts": [
                {"source": source, "suite": suite, "items": size, "too_short": short[suite]}
                | {kind: found[source, suite, kind] for kind in LEAK_KINDS}
                for source in self._stages
                for suite, size in sizes.items()
            ],
            "dirty": [[*place, leak.kind] for leak, place in located if leak.kind in BLOCKING],
            "longest": [
                {
                    "kind": leak.kind,
                    "item": f"{suite}/{task} {item_id}",
                    "rows": list(leak.rows),
                    "num_rows": leak.num_rows,
                    "num_words": leak.num_words,
                    "covered_share": round(leak.covered_share, 3),
                    "text": shorten(leak.text, MAX_MATCH_CHARS),
                }
                for leak, (suite, task, item_id) in longest
            ],
        }

    def _located(self) -> list[tuple[Leak, tuple[str, str, str]]]:
        places = list(self._places.values())
        return [(leak, place) for leak in self._finder.leaks() for place in places[leak.item]]


def describe_overlap(summary: Mapping[str, Any]) -> tuple[str, bool]:
    """Describe in one line what was found.

    Args:
        summary: what `SuiteOverlap` found.

    Returns:
        The line, and whether training rows hold questions or answers.
    """
    from adatta.data.overlap import LEAK_KINDS

    totals: dict[str, int] = {kind: sum(entry[kind] for entry in summary["counts"]) for kind in LEAK_KINDS}
    found = ", ".join(f"{totals[kind]} {kind}" for kind in LEAK_KINDS)
    sources, suites = ({entry[key] for entry in summary["counts"]} for key in ("source", "suite"))
    rows = [f"; {match['num_words']} words in {match['rows'][0]}" for match in summary["longest"][:1]]
    num = f"{len(sources)} source{'s' * (len(sources) > 1)}"
    line = f"{num} against the items of {', '.join(sorted(suites))}: {found} matches{''.join(rows)}"
    return line, any(totals[kind] for kind in BLOCKING)


def _read_items(suites: Iterable[Suite | Benchmarks]) -> Places:
    """Say where each text stands; an item that several tasks of a suite ask counts once, as the first's."""
    tasks: dict[ItemText, dict[tuple[str, str], str]] = defaultdict(dict)
    for suite in suites:
        for task, item_id, text in suite.item_texts():
            tasks[text].setdefault((suite.name, item_id), task)
    return {
        text: [(suite_name, name, item_id) for (suite_name, item_id), name in found.items()]
        for text, found in tasks.items()
    }
