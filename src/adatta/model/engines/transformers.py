"""transformers: a safetensors folder, one sequence with its key-value cache, greedy or sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from adatta.model.engine import Engine, Sampling
from adatta.model.load import load_model

# T tokens, V vocabulary


class TransformersEngine(Engine):
    """A model folder opened by transformers, in fp32; its generation config is not used."""

    def __init__(self, path: Path, *, context: int | None = None) -> None:
        """Load the folder.

        Args:
            path: the safetensors folder.
            context: most tokens of prompt and answer together; None takes what the config says.
        """
        self._model: Any = load_model(path)
        self.context: int = context or self._model.config.max_position_embeddings

    def stream(self, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """Continue `ids`, one id at a time; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """
        self.check_fits(ids, sampling.limit)
        generator = torch.Generator().manual_seed(sampling.seed)
        cache = DynamicCache(config=self._model.config)
        new = list(ids)
        for _ in range(sampling.limit):
            with torch.inference_mode():
                ids_1T = torch.tensor([new], device=self._model.device)
                output = self._model(ids_1T, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits_V = output.logits[0, -1].float().cpu()
            new = [_choose(logits_V, sampling.temperature, generator)]
            yield new[0]
            if new[0] in sampling.stop_ids:
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
