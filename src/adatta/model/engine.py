"""The one interface of what generates: ids in, ids out as they come; engines never see text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from adatta.core.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an answer is drawn: it ends with the first of `stop_ids`, which belongs to it, or at `limit` ids.

    `temperature` 0 takes the most likely id, more than 0 samples; the same `seed` gives the same sample.
    """

    stop_ids: Collection[int]
    limit: int
    seed: int
    temperature: float = 0.0


class Engine(ABC):
    """A model that is ready to generate; close it, or use it as a context manager.

    A file in engines/ exports its class as `ENGINE`, called with a path and `context=` (most tokens of prompt
    and answer together; None takes what the model itself allows).
    """

    context: int

    @abstractmethod
    def stream(self, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """Continue `ids`, one id at a time.

        Args:
            ids: the context, at least one id.
            sampling: how the answer is drawn.

        Yields:
            Each id as soon as it is known.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back threads and memory."""

    def check_fits(self, ids: Sequence[int], limit: int) -> None:
        """Refuse a prompt that can't be answered.

        Raises:
            ModelError: if there is no id, or `ids` and `limit` don't fit into the context.
        """
        if not ids or len(ids) + limit > self.context:
            raise ModelError(
                f"{len(ids)} ids and {limit} new ones were asked for; expected at least 1 id and at most "
                f"{self.context} together: shorten the prompt or the limit"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
