"""What a model gave, kept as it comes, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from adatta.core.fingerprint import content_id


class Journal:
    """Results by request, in a file of JSON lines; a line that was cut off is left out.

    Results belong to one model in one precision: the file's name says which.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read what is known.

        Args:
            path: Of the file, which may not exist yet; None keeps nothing.
        """
        self._path = path
        self._known = dict(_read(path)) if path and path.exists() else {}

    def fill(self, requests: Iterable[Any], compute: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """Return the results of requests that are computed together: those known, else computed and kept.

        Args:
            requests: Values for JSON, all that decides the results besides the model.
            compute: Gives the results, values for JSON.
        """
        if self._path is None:
            return compute()
        keys = [content_id(request) for request in requests]
        if not all(key in self._known for key in keys):
            lines = [{key: value} for key, value in zip(keys, compute(), strict=True)]
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{json.dumps(line)}\n" for line in lines))
            self._known |= {key: value for line in lines for key, value in line.items()}
        return [self._known[key] for key in keys]


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield from json.loads(line).items()
        except json.JSONDecodeError:
            continue  # what was being written when the evaluation was stopped
