"""The rows of a training stage: read, checked, split and turned into token rows, before anything trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adatta.core.errors import Problem, RowError
from adatta.core.fingerprint import hash_file
from adatta.core.recipe import Recipe, Stage
from adatta.core.records import Conversation, Document, Preference, Row, TokenRow
from adatta.core.settings import SftSettings

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.data.shape import RowKind

ROW_KIND: dict[str, RowKind] = {"sft": "conversation", "dpo": "preference", "adapt": "document"}

Group = tuple[TokenRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRows:
    """What a training stage works on.

    `train` and `holdout` hold one group a row: the branches that belong together. `holdout_bytes` are the
    UTF-8 bytes of the held-out rows' scored text. `quarantine` are the problems of rows left out on purpose.
    """

    train: tuple[Group, ...]
    holdout: tuple[Group, ...]
    holdout_bytes: int
    sources: tuple[dict[str, Any], ...]
    quarantine: tuple[Problem, ...]
    warnings: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Count rows and tokens, as the record keeps them."""
        branches = [row for group in self.train for row in group]
        return {
            "rows": len(self.train) + len(self.holdout) + len(self.quarantine),
            "used": len(self.train),
            "holdout": len(self.holdout),
            "quarantined": len(self.quarantine),
            "tokens": sum(len(row.ids) for row in branches),
            "scored_tokens": sum(weight > 0 for row in branches for weight in row.weights),
        }


def prepare_stage(stage: Stage, recipe: Recipe, chat: Chat) -> StageRows:
    """Read and check the rows of a training stage and turn them into ids and loss masks.

    Args:
        stage: a training stage.
        recipe: the recipe it stands in.
        chat: the one renderer of the chain.

    Returns:
        The rows on either side of the split, with counts.

    Raises:
        RowError: rows are wrong and the recipe says `error` for such rows.
    """
    from adatta.data.split import Split, split_holdout
    from adatta.data.validate import shorten_problems

    settings, held = stage.training, stage.training.holdout
    read = _read([source.path for source in settings.data], stage, recipe, chat)
    if held.path is None:
        split = split_holdout(read.rows, share=held.share, min_rows=held.min_rows)
    else:
        kept = _read([held.path], stage, recipe, chat)
        split = Split(train=read.rows, holdout=kept.rows, warnings=())
        read = read.joined(kept)
    refused = [*read.bad, *(problem for problem in read.long if recipe.on_overlong == "error")]
    if recipe.on_bad_row == "quarantine":
        refused = refused[len(read.bad) :]
    if not refused and not split.train:
        refused = [
            Problem(where=f"stage {stage.name}", what="no row is left to train on", hint="give it more rows")
        ]
    if refused:
        raise RowError(shorten_problems(refused))
    return StageRows(
        train=tuple(render(row, chat, recipe.context, thoughts=_thoughts(stage)) for row in split.train),
        holdout=tuple(render(row, chat, recipe.context, thoughts=_thoughts(stage)) for row in split.holdout),
        holdout_bytes=sum(_scored_bytes(row) for row in split.holdout),
        sources=read.sources,
        quarantine=(*read.bad, *read.long),
        warnings=tuple(f"{stage.name}: {warning}" for warning in split.warnings),
    )


def render(row: Row, chat: Chat, context: int, *, thoughts: Literal["drop", "keep"] = "drop") -> Group:
    """Turn a row into its branches: two for a preference, windows for a document, else mostly one."""
    match row:
        case Conversation():
            return chat.conversation(row, thoughts)
        case Preference():
            return chat.preference(row)
        case Document():
            return chat.document(row, context=context)


def _thoughts(stage: Stage) -> Literal["drop", "keep"]:
    return stage.settings.thoughts if isinstance(stage.settings, SftSettings) else "drop"


def data_hashes(stage: Stage) -> tuple[str, ...]:
    """Hash the files that a training stage reads, in order; the held-out file last, where one is named."""
    from adatta.data.source import find_files

    held = stage.training.holdout.path
    paths = [source.path for source in stage.training.data] + ([held] if held else [])
    return tuple(hash_file(file) for path in paths for file in find_files(Path(path), []))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """Good rows that fit, and what is wrong with the others."""

    rows: tuple[Row, ...]
    bad: tuple[Problem, ...]
    long: tuple[Problem, ...]
    sources: tuple[dict[str, Any], ...]

    def joined(self, other: _Read) -> _Read:
        return _Read(
            rows=self.rows,
            bad=(*self.bad, *other.bad),
            long=(*self.long, *other.long),
            sources=(*self.sources, *other.sources),
        )


def _read(paths: Sequence[str], stage: Stage, recipe: Recipe, chat: Chat) -> _Read:
    from adatta.data.source import find_files
    from adatta.data.validate import check_lengths, read_rows

    def measure(row: Row) -> int:
        return max(len(branch.ids) for branch in render(row, chat, recipe.context, thoughts=_thoughts(stage)))

    rows: list[Row] = []
    bad: list[Problem] = []
    long: list[Problem] = []
    sources = []
    for path in (file for source in paths for file in find_files(Path(source), bad)):
        report = read_rows([path], ROW_KIND[stage.kind])
        too_long = check_lengths(report.rows, measure, recipe.context)
        out = {problem.where for problem in too_long}
        rows += [row for row in report.rows if f"{row.origin.path}:{row.origin.line}" not in out]
        bad += report.problems
        long += too_long
        sources.append({"path": _shown(path), "sha256": hash_file(path), "rows": len(report.rows)})
    return _Read(rows=tuple(rows), bad=tuple(bad), long=tuple(long), sources=tuple(sources))


def _shown(path: Path) -> str:
    """Say where a file lies, from the current folder where it is in it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _scored_bytes(row: Row) -> int:
    match row:
        case Conversation():
            texts = [message.content for message in row.messages if message.role == "assistant"]
        case Preference():
            texts = [row.chosen.content, row.rejected.content]
        case Document():
            texts = [row.text]
    return sum(len(text.encode("utf-8")) for text in texts)
