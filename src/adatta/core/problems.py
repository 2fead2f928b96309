"""Collect problems as they come: the first in full, all of them counted."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from adatta.core.errors import Problem

SHOWN = 20


class Sink(Protocol):
    """What takes problems as they are found: a list, or `Problems`."""

    def append(self, problem: Problem, /) -> None:
        """Take one problem."""


class Problems:
    """What is wrong with rows, in bounded memory.

    `first` holds the first twenty problems, `counts` the number of each reason.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.first: list[Problem] = []
        self.counts: Counter[str] = Counter()

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
