"""transformers: a safetensors folder, one sequence with its key-value cache, greedy or sampled."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from adatta.model.engine import Engine
from adatta.model.load import load_model

# T tokens, V vocabulary


class TransformersEngine(Engine):
    """A model folder opened by transformers, in fp32; its generation config is not used."""

    def __init__(self, path: Path, *, context: int | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Load the folder.

        Args:
            path: the safetensors folder.
            context: most tokens of prompt and answer together; None takes what the config says.
            dtype: the weights' type while they compute.
        """
        self._model: Any = load_model(path, dtype)
        self.context: int = context or self._model.config.max_position_embeddings

    def stream(
        self,
        ids: Sequence[int],
        *,
        stop_ids: Collection[int],
        limit: int,
        seed: int,
        temperature: float = 0.0,
    ) -> Iterator[int]:
        """Continue `ids`, one id at a time; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and `limit` don't fit into the context.
        """
        self.check_fits(ids, limit)
        generator = torch.Generator().manual_seed(seed)
        cache = DynamicCache(config=self._model.config)
        new = list(ids)
        for _ in range(limit):
            with torch.inference_mode():
                ids_1T = torch.tensor([new], device=self._model.device)
                output = self._model(ids_1T, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits_V = output.logits[0, -1].float().cpu()
            new = [_choose(logits_V, temperature, generator)]
            yield new[0]
            if new[0] in stop_ids:
                return

    def close(self) -> None:
        """Give back the memory."""
        self._model = None


def _choose(logits_V: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """Take the most likely id, or draw one from the whole vocabulary."""
    if temperature <= 0:
        return int(logits_V.argmax())
    return int(torch.multinomial((logits_V / temperature).softmax(-1), 1, generator=generator))


ENGINE = TransformersEngine
