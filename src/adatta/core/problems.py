"""Collect problems as they come: of rows, the first in full and all counted; of steps, which hide nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, TypeVar

from adatta.core.errors import DataError, Problem, RecipeError, RowError, UserError

T = TypeVar("T")

SHOWN = 20


class Sink(Protocol):
    """What takes problems as they are found: a list, or `Problems`."""

    def append(self, problem: Problem, /) -> None:
        """Take one problem."""


class Problems:
    """What is wrong with rows, in bounded memory.

    `first` holds the first twenty problems, `counts` the number of each reason.
    """

    def __init__(self, known: Iterable[Problem] = ()) -> None:
        """Start with those that are known."""
        self.first: list[Problem] = []
        self.counts: Counter[str] = Counter()
        for problem in known:
            self.append(problem)

    def append(self, problem: Problem) -> None:
        """Add a problem."""
        if len(self.first) < SHOWN:
            self.first.append(problem)
        self.counts[problem.reason or "unexpected"] += 1

    def __len__(self) -> int:
        return self.counts.total()

    def shortened(self) -> tuple[Problem, ...]:
        """Return the first twenty, and a count in place of the rest."""
        rest = len(self) - len(self.first)
        more = Problem(where="", what=f"... and {rest} more problem{'s' * (rest > 1)}")
        return (*self.first, more) if rest else tuple(self.first)


class Checks:
    """The steps so far, printed as they come, and the problems that were found."""

    def __init__(self, *, is_quiet: bool) -> None:
        """Start without steps.

        Args:
            is_quiet: print nothing.
        """
        self.steps: list[dict[str, Any]] = []
        self.problems: list[Problem] = []
        self.counts: Counter[str] = Counter()
        self._errors: list[UserError] = []
        self._is_quiet = is_quiet

    def add(
        self, name: str, text: str, *, verdict: Literal["ok", "WARN", "FAIL"] = "ok", **figures: Any
    ) -> None:
        """Add a step: what was looked at, what was found in a line and more lines, figures for JSON."""
        self.steps.append({"name": name, "verdict": verdict, "text": text, "figures": figures})
        if not self._is_quiet:
            indented = text.replace("\n", f"\n{'':10}")
            print(f"{len(self.steps):>2}. {verdict:<5} {name}: {indented}", flush=True)

    def attempt(self, name: str, work: Callable[[], T]) -> T | None:
        """Return what `work` gives; where it tells a mistake of the user, add a failed step."""
        try:
            return work()
        except UserError as error:
            problems = getattr(error, "problems", (Problem(where=name, what=str(error)),))
            counts: Mapping[str, int] = getattr(error, "counts", {})
            self._errors.append(error)
            if any(each not in self.problems for each in problems):  # else another stage reads the same file
                self.problems += [each for each in problems if not each.where or each not in self.problems]
                self.counts.update(counts)
            num = sum(counts.values()) or len(problems)
            self.add(name, f"{num} problem{'s' * (num > 1)}, told below", verdict="FAIL")
            return None

    def error(self) -> UserError:
        """Return the only error, or one with all problems, which is of rows where data are among them."""
        if len(self._errors) == 1:
            return self._errors[0]
        is_of_rows = any(isinstance(error, DataError) for error in self._errors)
        return RowError(self.problems, counts=self.counts) if is_of_rows else RecipeError(self.problems)
