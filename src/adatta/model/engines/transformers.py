"""transformers: a safetensors folder, one sequence with its key-value cache, greedy or sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from adatta.core.records import TokenRow
from adatta.model.attend import give_back
from adatta.model.engine import Engine, Ids, Sampling
from adatta.model.exactness import PROBE_TOKENS, choose_engine
from adatta.model.forest import build_forest
from adatta.model.load import load_model, place_model
from adatta.model.score import EngineName, score

# T tokens, V vocabulary, S scored tokens


class TransformersEngine(Engine):
    """A model folder opened by transformers, in fp32; its generation config is not used."""

    def __init__(self, path: Path, *, context: int | None = None) -> None:
        """Load the folder.

        Args:
            path: the safetensors folder.
            context: most tokens of prompt and answer together; None takes what the config says.
        """
        self._model: Any = place_model(load_model(path))
        self.context: int = context or self._model.config.max_position_embeddings

    def stream(self, ids: Ids, sampling: Sampling) -> Iterator[int]:
        """Continue `ids`, one id at a time; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """
        self.check_fits(ids, sampling.limit)
        cache = DynamicCache(config=self._model.config)
        yield from self._answer(self._read(ids, cache), cache, sampling)

    def candidates(self, ids: Ids, sampling: Sampling, *, count: int) -> list[tuple[int, ...]]:
        """Draw several answers to one prompt, computed once; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """
        self.check_fits(ids, sampling.limit)
        cache = DynamicCache(config=self._model.config)
        logits_V = self._read(ids, cache)
        samplings = [replace(sampling, seed=sampling.seed + number) for number in range(count)]
        return [tuple(self._answer(logits_V, deepcopy(cache), each)) for each in samplings]

    def log_probs(self, ids: Ids, continuations: Sequence[Ids]) -> list[tuple[float, ...]]:
        """Score continuations as one forest; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if a continuation doesn't fit into the context behind `ids`.
        """
        for continuation in continuations:
            self.check_fits(ids, len(continuation))
        weights = (0.0,) * len(ids)
        rows = [
            TokenRow(ids=(*ids, *each), weights=(*weights, *[1.0] * len(each)), row_id="")
            for each in continuations
        ]
        forest = build_forest(rows)
        with torch.inference_mode():
            logp_S = score(self._model, forest, engine=self._scorer)
        return [tuple(logp_S[forest.row_S == row].tolist()) for row in range(len(rows))]

    def close(self) -> None:
        """Give back the memory."""
        self._model = None

    @cached_property
    def _scorer(self) -> EngineName:
        """The fastest exact way to score a forest of this model."""
        probe = range(min(PROBE_TOKENS, self._model.config.vocab_size))
        return choose_engine(self._model, probe, engine="auto")

    def _read(self, ids: Ids, cache: DynamicCache) -> torch.Tensor:
        """Compute `ids` behind what the cache holds; return the logits [V] of what follows."""
        give_back(self._model)
        with torch.inference_mode():
            ids_1T = torch.tensor([ids], device=self._model.device)
            output = self._model(ids_1T, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits_V: torch.Tensor = output.logits[0, -1].float().cpu()
        return logits_V

    def _answer(self, logits_V: torch.Tensor, cache: DynamicCache, sampling: Sampling) -> Iterator[int]:
        generator = torch.Generator().manual_seed(sampling.seed)
        for place in range(sampling.limit):
            token = _choose(logits_V, sampling.temperature, generator)
            yield token
            if token in sampling.stop_ids or place == sampling.limit - 1:
                return
            logits_V = self._read([token], cache)


def _choose(logits_V: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """Take the most likely id, or draw one from the whole vocabulary."""
    if temperature <= 0:
        return int(logits_V.argmax())
    return int(torch.multinomial((logits_V / temperature).softmax(-1), 1, generator=generator))


ENGINE = TransformersEngine
