"""The tree of errors: each says what was given, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any


class AdattaError(Exception):
    """Base of all errors that adatta raises on purpose; `exit_code` is the command line's answer."""

    exit_code = 1


class UserError(AdattaError):
    """A mistake in what the user gave: one clear message, exit code 2, nothing trained."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake: where (`file:line`), what is wrong, what to do.

    A row's problem also has a `reason`, which docs/data-formats.md explains, and the `field` that is wrong.
    `rows`: it stands for one, or for all that can't be read behind a damage. `read` is as much as could be
    read of a row that is lost by it.
    """

    where: str
    what: str
    hint: str = ""
    reason: str = ""
    field: str = ""
    rows: int = 1
    read: Any = dataclass_field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n    {self.hint}" if self.hint else text


def problems_table(problems: Sequence[Problem], counts: Mapping[str, int]) -> str:
    """Write problems as a table: place and mistake, reason, field, what to do; then the count of each reason.

    Args:
        problems: The first ones; one without a place is a sentence by itself.
        counts: Number of all problems by reason.
    """
    why, field = (max(len(getattr(problem, key)) for problem in problems) for key in ("reason", "field"))
    lines = []
    for problem in problems:
        lines.append(f"{problem.where}: {problem.what}" if problem.where else problem.what)
        if problem.hint:
            lines.append(f"    {problem.reason:<{why}}  {problem.field:<{field}}  {problem.hint}")
    rows = [("number", "why"), *((str(number), reason) for reason, number in counts.items())]
    return "\n".join([*lines, "", *(f"{number:>6}  {reason}" for number, reason in rows)])


def problems_json(problems: Sequence[Problem], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what `problems_table` writes as plain values.

    Args:
        problems: The first ones.
        counts: Number of all problems by reason.
    """
    keys = ("where", "what", "hint", "reason", "field", "rows")
    shown = [{key: getattr(problem, key) for key in keys} for problem in problems if problem.where]
    return {"problems": shown, "counts": dict(counts)}


Given = Sequence[Problem] | Problem | str


class _Problems(UserError):
    """An error that reports every problem at once."""

    def __init__(self, problems: Given, *, where: str = "", hint: str = "") -> None:
        """Tell problems; of one that is given as a text, `where` it is and a `hint`."""
        if isinstance(problems, str):
            problems = Problem(where=where, what=problems, hint=hint)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RecipeError(_Problems):
    """The recipe has mistakes, or names what can't be done here."""


class DataError(_Problems):
    """Data files have mistakes."""


class RowError(DataError):
    """Rows of a data file are wrong; each problem names `file:line`.

    `problems` are the first ones, `counts` has the number of all of them by reason.
    """

    def __init__(self, problems: Given, *, counts: Mapping[str, int] | None = None) -> None:
        super().__init__(problems)
        self.counts = dict(counts or {})

    def __str__(self) -> str:
        return problems_table(self.problems, self.counts) if self.counts else super().__str__()


class OverlapError(DataError):
    """Training data and evaluation items overlap."""


class TemplateError(UserError):
    """A chat template can't be followed exactly."""


class ModelError(UserError):
    """A model can't be found, read or used."""


class PublishError(UserError):
    """A run can't be published as asked."""


class CheckpointError(ModelError):
    """A checkpoint can't be read or doesn't belong to this stage."""


class ExactnessError(ModelError):
    """A result differs from its reference by more than its tolerance."""

    exit_code = 1


class TrainError(AdattaError):
    """Training failed."""


class DivergedError(TrainError):
    """The loss or the gradient is not a finite number."""


class ResumeError(TrainError):
    """A stopped stage can't go on."""


class EvalError(AdattaError):
    """An evaluation can't be done or makes no sense."""


class ExportError(AdattaError):
    """A model can't be written in the format asked for."""


class ParityError(ExportError):
    """An exported model doesn't answer as the model it came from."""


class ServeError(AdattaError):
    """Serving a model failed."""


class ArtefactError(AdattaError):
    """An artefact on disk is not what its record says."""


class DriftError(ArtefactError):
    """Files of a complete artefact changed after its record was written."""


class IncompleteError(ArtefactError):
    """An artefact has no record: the stage that makes it did not end."""


class GuardError(AdattaError):
    """Done, but a guard of the recipe says no."""

    exit_code = 3


class MissingExtraError(UserError):
    """An optional package is missing; the message names the extra to install."""
