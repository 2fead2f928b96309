"""Rows put aside: written to a file with their reasons, counted by them, with what is lost."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import asdict

from adatta.core.problems import Problems
from adatta.data.validate import Refused


class Quarantine:
    """The rows of a stage that are put aside; their number is in `rows`, by first reason in `reasons`.

    Those that are missing behind a damage count, too, where a file says how many there are.
    What was read stays in memory, compressed: a recipe allows a small share of it.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self.problems = Problems()
        self._lost_tokens = self._lost_bytes = 0
        self._packer = zlib.compressobj(level=1)
        self._packed = bytearray()

    def add(self, refused: Refused, *, scored_tokens: int | None) -> None:
        """Put a row aside.

        Args:
            refused: The row, or the part of a file.
            scored_tokens: What it would have taught, where it can be tokenised.
        """
        first, *others = refused.problems
        read = refused.fields or (asdict(refused.row) if refused.row else None)
        fields = json.dumps(read, ensure_ascii=False, default=str)
        line = {key: getattr(first, key) for key in ("where", "reason", "field", "what")}
        line |= {"also": [problem.what for problem in others]} if others else {}
        text = f'{json.dumps(line, ensure_ascii=False)[:-1]}, "fields": {fields}}}\n'
        # Half a surrogate pair becomes the escape that JSON has for it.
        self._packed += self._packer.compress(text.encode("utf-8", "backslashreplace"))
        self.rows += first.rows
        self.reasons[first.reason] += first.rows
        for problem in refused.problems:
            self.problems.append(problem)
        if scored_tokens is not None:
            self._lost_tokens += scored_tokens
        elif isinstance(read, str):  # a line, whose bytes that are no UTF-8 were escaped
            self._lost_bytes += len(read.encode("utf-8", "surrogateescape"))
        elif read:
            self._lost_bytes += len(fields.encode("utf-8", "backslashreplace"))

    def losses(self) -> dict[str, int]:
        """Return the scored tokens lost, and the bytes of the rows whose tokens aren't known."""
        return {"lost_scored_tokens": self._lost_tokens, "lost_bytes": self._lost_bytes}

    def content(self) -> bytes:
        """Return the file: a JSON object a row with `where`, `reason`, `field`, `what`, `also`, `fields`."""
        return zlib.decompress(self._packed + self._packer.copy().flush())
