"""The one interface of what generates: ids in, ids out as they come; engines never see text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from adatta.core.errors import ModelError

Ids = Sequence[int]


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

    What is promised: an answer is decided by model, ids, sampling and machine alone, because sequences are
    computed one at a time, never in batches that depend on what else is asked. Two engines, or one on two
    machines, differ in the last bits, and so may answer differently where two ids are nearly as likely.
    Exceptions: vLLM makes batches as it likes, and llama.cpp with `reuse_prefix` keeps keys and values of
    the prompt before; both move the last bits only. One answer at a time: end a stream, or close it, before
    anything else is asked.
    """

    context: int

    @abstractmethod
    def stream(self, ids: Ids, sampling: Sampling) -> Iterator[int]:
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
    def log_probs(self, ids: Ids, continuations: Sequence[Ids]) -> list[tuple[float, ...]]:
        """Score given continuations of `ids`, which are computed once.

        Args:
            ids: the context, at least one id.
            continuations: what may follow it.

        Returns:
            For each continuation the log-prob of each of its ids, in nats.

        Raises:
            ModelError: if a continuation doesn't fit into the context behind `ids`.
        """

    def candidates(self, ids: Ids, sampling: Sampling, *, count: int) -> list[tuple[int, ...]]:
        """Draw several answers to one prompt, which is computed once where the engine can.

        Args:
            ids: the context, at least one id.
            sampling: how the first is drawn; each later one takes the next seed.
            count: number of answers.

        Returns:
            Answer n is what `stream` gives with the seed `sampling.seed + n`, but for the last bits.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """
        seeds = range(sampling.seed, sampling.seed + count)
        return [tuple(self.stream(ids, replace(sampling, seed=seed))) for seed in seeds]

    @abstractmethod
    def close(self) -> None:
        """Give back threads and memory."""

    def check_fits(self, ids: Ids, limit: int) -> None:
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
