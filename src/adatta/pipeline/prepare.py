"""The rows of a training stage: read, checked, drawn, split and turned into ids, before anything trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from adatta.core.errors import ArtefactError, DataError, Problem, RowError, TemplateError
from adatta.core.fingerprint import hash_file
from adatta.core.problems import Problems
from adatta.core.recipe import Recipe, Stage
from adatta.core.records import Conversation, Message, Origin, Preference, Row
from adatta.core.settings import DataSettings
from adatta.pipeline.branches import Branches, render
from adatta.pipeline.overlap import SuiteOverlap
from adatta.pipeline.sources import NOTHING, ROW_KIND, Wrong, list_sources, open_inputs, show_path
from adatta.pipeline.token_store import Group, Head, Picked, TokenStore

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.data.pairs import PairChecks
    from adatta.data.quarantine import Quarantine
    from adatta.data.validate import Refused, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRows:
    """What a training stage works on.

    `train` and `holdout` hold one group a row: the branches that belong together. They are read from a file
    as they are asked for; two hold four bytes a row each. A row that is used several times in a pass stands
    in `train` as often, and `used` counts it once. `holdout_bytes` are the UTF-8 bytes of the held-out rows'
    scored text. `not_drawn` rows were left out by a source's weight or number. `tokens` and `scored_tokens`
    are those of `train`; `longest` are the tokens of the longest branch on either side, `straddled` the rows
    that have a token on an answer's border, `split` those that were cut as they are longer than the context.
    `validation` has the figures of the checks.
    """

    train: Sequence[Group]
    used: int
    not_drawn: int
    holdout: Sequence[Group]
    holdout_bytes: int
    tokens: int
    scored_tokens: int
    longest: int
    straddled: int
    split: int
    sources: tuple[dict[str, Any], ...]
    quarantine: Quarantine
    validation: dict[str, Any]
    warnings: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Count rows and tokens, as the record keeps them; `drawn` are a pass's rows with repetitions."""
        return {
            "rows": self.used + len(self.holdout) + self.quarantine.rows + self.not_drawn,
            "used": self.used,
            "drawn": len(self.train),
            "holdout": len(self.holdout),
            "not_drawn": self.not_drawn,
            "quarantined": self.quarantine.rows,
            "split": self.split,
            **self.quarantine.losses(),
            "tokens": self.tokens,
            "scored_tokens": self.scored_tokens,
        }

    def data_hashes(self) -> tuple[str, ...]:
        """Return what decides the rows: the files' hashes and the Hub's commits, in order."""
        return tuple(str(source.get("commit") or source["sha256"]) for source in self.sources)


def prepare_stage(
    stage: Stage, recipe: Recipe, chat: Chat, *, overlap: SuiteOverlap | None = None, wrong: Wrong = NOTHING
) -> StageRows:
    """Read and check the rows of a training stage and turn them into ids and loss masks.

    Rows are drawn by their source's weight, then some are held out, then those with a weight above 1 are
    repeated: no row stands on both sides.

    Args:
        stage: a training stage.
        recipe: the recipe it stands in.
        chat: the one renderer of the chain.
        overlap: looks at each good row.
        wrong: the sources that are told and not read.

    Returns:
        The rows on either side of the split, with counts.

    Raises:
        RowError: rows are wrong and the recipe says `error` for such rows, or too many are.
        DataError: a source has fewer rows than are to be drawn.
        RecipeError: too few rows are held out to choose the best weights by.
    """
    import numpy as np

    from adatta.data.mixture import draw_times
    from adatta.data.split import LARGEST_PART, split_holdout
    from adatta.train.schedule import refuse_few_holdout

    held = stage.training.holdout
    errors = Problems(chain.from_iterable(wrong.values()))
    reader = _Reader(stage, recipe, chat, overlap=overlap, errors=errors)
    sources = list_sources(stage)
    parts = {place: reader.read(source) for place, source in sources.items() if place not in wrong}
    reader.finish()
    store, kept = reader.store, parts.pop("holdout", range(0))
    times = np.concatenate(
        [draw_times(Picked(store.row_id, part), sources[at], seed=recipe.seed) for at, part in parts.items()]
    )
    drawn = np.flatnonzero(times).astype(np.uint32)
    places = np.fromiter(Picked(store.place, drawn), np.uint64, len(drawn))
    given = "min_rows" in held.model_fields_set  # what nobody asked for is no reason to warn
    least = held.min_rows if given else min(held.min_rows, len(drawn) // LARGEST_PART)
    split = split_holdout(places, 0.0 if held.path else held.share, least)
    train, holdout = drawn[~split.is_held], kept or drawn[split.is_held]
    if not len(train):
        what, hint = "no row is left to train on", "give it more rows"
        raise RowError(Problem(where=f"stage {stage.name}", what=what, hint=hint))
    refuse_few_holdout(stage.training, len(holdout), where=f"stage {stage.name}")
    found = StageRows(
        train=Picked(store.group, np.repeat(train, times[train])),
        used=len(train),
        not_drawn=len(times) - len(drawn),
        holdout=Picked(store.group, holdout),
        **_add_up(Picked(store.head, train), times[train], held=Picked(store.head, holdout)),
        sources=tuple(reader.sources),
        quarantine=reader.quarantine,
        validation=reader.figures,
        warnings=tuple(f"{stage.name}: {warning}" for warning in (*split.warnings, *reader.warnings())),
    )
    if found.counts()["rows"] != reader.num_rows:
        what = f"{reader.num_rows} rows came in, {found.counts()} came out"
        hint = "a defect of adatta: please report it"
        raise DataError(Problem(where=f"stage {stage.name}", what=what, hint=hint, reason="unexpected"))
    return found


def _add_up(train: Iterable[Head], times: Iterable[int], *, held: Iterable[Head]) -> dict[str, int]:
    """Add up what is known of rows: of those to train on as often as they are used."""
    sums = dict.fromkeys(("holdout_bytes", "tokens", "scored_tokens", "longest", "straddled", "split"), 0)
    for head, number in chain(zip(train, times, strict=True), zip(held, repeat(0), strict=False)):
        sums["holdout_bytes"] += 0 if number else head.scored_bytes
        sums["tokens"] += head.tokens * int(number)
        sums["scored_tokens"] += head.scored_tokens * int(number)
        sums["longest"] = max(sums["longest"], head.longest)
        sums["straddled"] += head.is_straddled
        sums["split"] += head.is_split
    return sums


class _Reader:
    """Reads the sources of a stage; what is wrong goes where the recipe says."""

    def __init__(
        self, stage: Stage, recipe: Recipe, chat: Chat, *, overlap: SuiteOverlap | None, errors: Problems
    ) -> None:
        from adatta.data.overlap import NearDuplicates
        from adatta.data.quarantine import Quarantine
        from adatta.data.validate import Meaning, Validation
        from adatta.lang.identify import identify

        self._stage, self._recipe, self._chat, self._overlap = stage, recipe, chat, overlap
        self._last: tuple[Row, Branches] | None = None
        self.errors = errors
        self.near = Problems()
        self.quarantine = Quarantine()
        self.sources: list[dict[str, Any]] = []
        self.store = TokenStore()
        meaning = Meaning(
            language=recipe.language,
            context=recipe.context,
            template_tokens=(2, 0) if stage.kind == "adapt" else _template_tokens(chat),
            measure=self._measure,
            identify=identify,
            find_near=NearDuplicates().find,
        )
        self.validation = Validation(
            ROW_KIND[stage.kind], refuse=self._refuse, warn=self.near.append, meaning=meaning
        )

    def read(self, source: DataSettings) -> range:
        """Read a source to its end and return the numbers of its good rows."""
        from adatta.data.pairs import PairChecks
        from adatta.data.validate import find_size_mistake
        from adatta.evals.statistics import wilson

        first = len(self.store)
        tolerant = self._recipe.on_bad_row == "quarantine"
        for given in open_inputs(source, self.errors, damaged=self.validation, tolerant=tolerant):
            pairs = PairChecks(interval=wilson)
            for row in self.validation.rows(given):
                # What the second pass didn't measure is rendered here for the first time.
                mistake = find_size_mistake(row, measure=self._measure, context=self._recipe.context)
                if mistake is None:
                    self._accept(row, pairs)
                else:
                    self.validation.refuse(row, mistake)
            identity = {"commit": given.commit} if given.commit else {}
            counts = {"rows": given.num_rows, "shapes": dict(given.shapes), "ignored": dict(given.ignored)}
            described = {"pairs": pairs.summary()} if len(pairs) else {}
            file = {"path": show_path(given.name), "sha256": "" if identity else _hash(given.name)}
            self.sources.append({**file, **identity, **counts, **described})
        return range(first, len(self.store))

    def _accept(self, row: Row, pairs: PairChecks) -> None:
        """Keep a good row as tokens, and show it to what describes the sources."""
        from adatta.data.contents import list_contents
        from adatta.data.split import place_row

        if isinstance(row, Preference):
            pairs.look(row)
        if self._overlap is not None:
            self._overlap.look(row, stage=self._stage.name, source=show_path(row.origin.path))
        settings = self._stage.settings
        roles = {"thoughts"} if getattr(settings, "thoughts", "drop") == "keep" else set[str]()
        parts = list_contents(row)
        if getattr(settings, "answers", "all") == "last":  # of its message: the answer and its thoughts
            parts = [part for part in parts if part.field.endswith(parts[-1].field)]
        scored = [part.text for part in parts if part.is_target or part.role in roles]
        size = sum(len(text.encode("utf-8")) for text in scored)
        branches, is_split = self._render(row)
        self.store.append(
            branches,
            place=place_row(row.row_id, row.group),
            scored_bytes=size,
            is_straddled=row.row_id in self._chat.straddled,
            is_split=is_split,
        )
        self._chat.straddled.clear()  # or it would grow with the rows

    def finish(self) -> None:
        """Refuse a stage with errors, or with more in quarantine than allowed; forget what was checked."""
        if len(self.errors):
            raise RowError(self.errors.shortened(), counts=self.errors.counts)
        self.num_rows = total = self.validation.structure.rows
        self.figures = {**self.validation.figures(), "near_duplicates": len(self.near)}
        del self.validation  # what it keeps of each row is needed no more
        aside, limit = self.quarantine, self._recipe.max_bad_share
        if aside.rows > limit * total:
            share = aside.rows / total
            what = f"{aside.rows} of {total} rows are bad ({share:.1%}), max_bad_share is {limit:.1%}"
            hint = "mend them, or raise the limit"
            problem = Problem(where=f"stage {self._stage.name}", what=what, hint=hint)
            raise RowError((problem, *aside.problems.shortened()), counts=aside.problems.counts)

    def warnings(self) -> Iterator[str]:
        """Tell what is left out or stands out, and the user should know."""
        if self.quarantine.rows:
            reasons = ", ".join(f"{reason} {number}" for reason, number in self.quarantine.reasons.items())
            yield f"{self.quarantine.rows} rows are put aside in the stage's quarantine.jsonl: {reasons}"
        if len(self.near):
            some = "; ".join(f"{problem.where} has {problem.what}" for problem in self.near.first)
            yield f"near repetitions of earlier rows, which are used, too: {len(self.near)}; {some}"

    def _refuse(self, refused: Refused) -> None:
        recipe, reason = self._recipe, refused.problems[0].reason
        is_bad = reason != "too_long" or recipe.on_overlong == "split"  # so is what can't be split
        if (recipe.on_bad_row if is_bad else recipe.on_overlong) == "error":
            for problem in refused.problems:
                self.errors.append(problem)
            return
        scored_tokens = None  # then its bytes are counted
        if refused.row is not None and reason not in ("template", "unexpected"):
            with suppress(TemplateError):
                scored_tokens = self._measure(refused.row).scored_tokens
        self.quarantine.add(refused, scored_tokens=scored_tokens)

    def _render(self, row: Row) -> Branches:
        """Render a row once, however often it is asked for in turn."""
        if self._last is None or self._last[0] is not row:
            self._last = row, render(row, self._chat, recipe=self._recipe, settings=self._stage.training)
        return self._last[1]

    def _measure(self, row: Row) -> Size:
        from adatta.data.validate import Size

        branches, _ = self._render(row)
        scored_tokens = sum(weight > 0 for branch in branches for weight in branch.weights)
        return Size(max(len(branch.ids) for branch in branches), scored_tokens)


def _hash(path: str) -> str:
    try:
        return hash_file(path)
    except ArtefactError as error:
        raise DataError(str(error)) from error


def _template_tokens(chat: Chat) -> tuple[int, int]:
    """Return how many tokens a template adds at most: once, and for each message more."""
    turn = (Message(role="user", content="a"), Message(role="assistant", content="a"))
    origin = Origin(path="", line=0)
    one, two = (
        max(len(branch.ids) for branch in chat.conversation(row))
        for row in (Conversation(messages=turn * number, row_id="", origin=origin) for number in (1, 2))
    )
    return one, max(two - one, 1)
