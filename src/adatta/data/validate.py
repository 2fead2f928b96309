"""Every row is checked before anything runs, one by one, in two passes: its structure, then its meaning.

Structure: encoding and keys, roles and their order, empty or equal answers, template marks, wrongly decoded
characters, exact repetitions. Meaning: the answer's language, length, whether anything is left to train, near
repetitions. Every finding is an error but one: a row that nearly repeats another is a warning, because near
texts are often meant (a question asked in two ways, a series). An exact repetition is an error, because it
is hardly ever meant and a weight says it better; so is an answer in another language than asked for. Errors
stop the run, or put the row aside with `on_bad_row: quarantine`; either way each is counted and named.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

from adatta.core.errors import ArtefactError, Problem, TemplateError
from adatta.core.records import Document, Origin, Row
from adatta.data.answer_language import Identify, find_language_mistake
from adatta.data.contents import list_contents
from adatta.data.duplicates import SeenRows
from adatta.data.shape import RowKind, shape_row
from adatta.data.source import Numbered
from adatta.data.text_checks import find_text_mistake
from adatta.data.turns import Mistake

# What a defect of ours raises. A full disk, missing memory or an interruption is none, and goes through.
_DEFECTS = (ArithmeticError, ArtefactError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_BATCH_ROWS = 64  # checked for one thing after the other, so that what each looks up stays in the cache
_VISIBLE = re.compile(r"[^\s\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")


class Size(NamedTuple):
    """Tokens of a row's longest branch, and scored tokens of all of them."""

    tokens: int
    scored_tokens: int


Measure = Callable[[Row], Size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What the second pass judges by.

    A row is measured only where its UTF-8 bytes and the template's tokens (`template_tokens`: once, and for
    each message) could exceed `context`: a token has at least one byte. `find_near` gets what was asked and
    what was answered, or a document's text, and returns the number of the earlier row, in the order of its
    calls, that this one nearly repeats.
    """

    language: str
    context: int
    template_tokens: tuple[int, int]
    measure: Measure
    identify: Identify
    find_near: Callable[..., int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What can't be used: a row, or a part of a file; its problems, and as much of it as could be read."""

    problems: tuple[Problem, ...]
    fields: Any = None
    row: Row | None = None


@dataclass(slots=True, kw_only=True)
class Pass:
    """Rows that came into a pass, rows that went on, seconds that it took."""

    rows: int = 0
    kept: int = 0
    time_s: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return the figures with the rate, as the record keeps them."""
        rate = round(self.rows / self.time_s) if self.time_s else 0
        return {"rows": self.rows, "kept": self.kept, "time_s": round(self.time_s, 3), "rows_per_s": rate}


@dataclass(slots=True, kw_only=True)
class Input:
    """The records of one file, or of one split of a Hub data set, and what was found in them.

    `name` stands before the line in messages; `names` is the recipe's field map; `commit` is that of a Hub
    data set. `shapes` counts the rows of each shape, `ignored` those that have a key which nothing reads.
    """

    name: str
    records: Iterable[Numbered]
    names: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    num_rows: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)


class Validation:
    """Checks rows as they stream by and keeps none: each goes on, or is refused with its reasons.

    What one pass refuses comes in order; the second is some rows behind the first.

    In memory stay 14 to 16 bytes a row, for exact repetitions, and what `find_near` keeps.
    """

    def __init__(
        self,
        kind: RowKind,
        *,
        refuse: Callable[[Refused], None],
        warn: Callable[[Problem], None],
        meaning: Meaning | None,
    ) -> None:
        """Start with no row seen.

        Args:
            kind: The kind of row that is expected.
            refuse: Gets what is refused, at once.
            warn: Gets near repetitions.
            meaning: What the second pass judges by; without it (None) repetitions aren't looked for either.
        """
        self._kind = kind
        self._refuse = refuse
        self._warn = warn
        self._meaning = meaning
        self._seen = SeenRows()
        self.structure = Pass()
        self.both = Pass()

    def rows(self, given: Input) -> Iterator[Row]:
        """Yield the good rows of one more input, in order; reading it is part of the first pass."""
        rows = _timed(self._check_structure(given), self.structure)
        if self._meaning is not None:
            rows = self._check_meaning(rows, self._meaning)
        return _timed(rows, self.both)

    def append(self, problem: Problem, /) -> None:
        """Refuse what a source can't read: a row, or the rest of a file."""
        self.structure.rows += problem.rows
        self._refuse(Refused(problems=(replace(problem, read=None),), fields=problem.read))

    def refuse(self, row: Row, mistake: Mistake) -> None:
        """Refuse a row after all that both passes let through."""
        self.both.kept -= 1
        self._refuse(Refused(problems=_place([mistake], row.origin), row=row))

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the figures of each pass and of both together."""
        first, both = self.structure, self.both
        own_s = max(both.time_s - first.time_s, 0.0)
        second = Pass(rows=first.kept, kept=both.kept, time_s=own_s)
        both = Pass(rows=first.rows, kept=both.kept, time_s=both.time_s)
        return {"structure": first.figures(), "meaning": second.figures(), "both": both.figures()}

    def _check_structure(self, given: Input) -> Iterator[Row]:
        for line, fields in self._records(given):
            self.structure.rows += 1
            given.num_rows += 1
            origin = Origin(path=given.name, line=line)
            row = None
            try:
                shaped = shape_row(fields, self._kind, origin=origin, names=given.names)
                given.shapes[shaped.shape] += 1
                given.ignored.update(shaped.ignored)
                row, mistakes = shaped.row, list(shaped.mistakes)
                if row is not None:
                    mistakes += self._find_flaws(row)
            except _DEFECTS as error:
                mistakes = [_unexpected(error)]
            if mistakes:
                self._refuse(Refused(problems=_place(mistakes, origin), fields=fields, row=row))
            elif row is not None:
                yield row

    def _records(self, given: Input) -> Iterator[Numbered]:
        try:
            yield from given.records
        except _DEFECTS as error:
            self.append(Problem(where=given.name, **_unexpected(error)._asdict()))

    def _find_flaws(self, row: Row) -> Iterator[Mistake]:
        found = [find_text_mistake(content.text, content.field) for content in list_contents(row)]
        mistakes = [mistake for mistake in found if mistake is not None]
        yield from mistakes
        earlier = None if mistakes or self._meaning is None else self._seen.find(row)
        if earlier:
            hint = "take it out; to use rows more often, give their source a weight"
            yield Mistake(f"the same content as {earlier}", hint, "duplicate", "")

    def _check_meaning(self, rows: Iterator[Row], meaning: Meaning) -> Iterator[Row]:
        while batch := list(islice(rows, _BATCH_ROWS)):
            near = [_attempt(self._find_near, row, meaning) for row in batch]
            faults = [_attempt(_find_faults, row, meaning) for row in batch]
            for row, repeated, mistakes in zip(batch, near, faults, strict=True):
                mistakes += [mistake for mistake in repeated if mistake.reason != "near_duplicate"]
                mistakes = mistakes or _attempt(_find_excess, row, meaning)
                if mistakes:
                    self._refuse(Refused(problems=_place(mistakes, row.origin), row=row))
                    continue
                for problem in _place(repeated, row.origin):
                    self._warn(problem)
                yield row

    def _find_near(self, row: Row, meaning: Meaning) -> Iterator[Mistake]:
        near = meaning.find_near(*_asked_and_answered(row))
        if near is not None:
            what, hint = f"nearly the same content as {self._seen.place(near)}", "take one of them out"
            yield Mistake(what, hint, "near_duplicate", "")


def find_size_mistake(row: Row, *, measure: Measure, context: int) -> Mistake | None:
    """Measure a row and say what is wrong with its tokens.

    Args:
        row: The row.
        measure: Counts its tokens; raises `TemplateError` where it can't be rendered exactly.
        context: Largest number of tokens.
    """
    try:
        tokens, scored_tokens = measure(row)
    except TemplateError as error:
        return Mistake(str(error), "change the row, or take it out", "template", "")
    except _DEFECTS as error:
        return _unexpected(error)
    if tokens > context:
        hint = "shorten the row, raise the recipe's context, or set on_overlong"
        return Mistake(f"{tokens} tokens, the context has {context}", hint, "too_long", "")
    if not scored_tokens:
        return Mistake("no token of it would be trained", "take it out", "nothing_to_train", "")
    return None


def _timed(rows: Iterator[Row], figures: Pass) -> Iterator[Row]:
    while True:
        start = time.perf_counter()
        row = next(rows, None)
        figures.time_s += time.perf_counter() - start
        if row is None:
            return
        figures.kept += 1
        yield row


def _attempt(check: Callable[[Row, Meaning], Iterable[Mistake]], row: Row, meaning: Meaning) -> list[Mistake]:
    try:
        return list(check(row, meaning))
    except _DEFECTS as error:
        return [_unexpected(error)]


def _find_faults(row: Row, meaning: Meaning) -> Iterator[Mistake]:
    for content in list_contents(row):
        if content.is_target and not _VISIBLE.search(content.text):
            yield Mistake("no visible character", "write a text", "nothing_to_train", content.field)
    if mistake := find_language_mistake(row, language=meaning.language, identify=meaning.identify):
        yield mistake


def _find_excess(row: Row, meaning: Meaning) -> Iterator[Mistake]:
    contents = list_contents(row)
    num_bytes = sum(len(content.text.encode("utf-8")) for content in contents)
    once, each = meaning.template_tokens
    if num_bytes + once + each * len(contents) > meaning.context:
        mistake = find_size_mistake(row, measure=meaning.measure, context=meaning.context)
        yield from [mistake] if mistake else []


def _asked_and_answered(row: Row) -> tuple[str, ...]:
    """Join what is asked and what is answered; of a document there is just its text."""
    contents = list_contents(row)
    if isinstance(row, Document):
        return (row.text,)
    return tuple(
        "\n".join(content.text for content in contents if content.role == role)
        for role in ("user", "assistant")
    )


def _place(mistakes: Sequence[Mistake], origin: Origin) -> tuple[Problem, ...]:
    return tuple(Problem(where=f"{origin.path}:{origin.line}", **mistake._asdict()) for mistake in mistakes)


def _unexpected(error: Exception) -> Mistake:
    what = f"a check failed: {type(error).__name__}: {error}"
    return Mistake(what, "a defect of adatta: please report it with this row", "unexpected", "")
