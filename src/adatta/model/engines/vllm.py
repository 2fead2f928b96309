"""vLLM, for GPUs: a safetensors folder, many sequences at once; never run here (docs/limits.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count as numbers
from pathlib import Path
from typing import Any

from adatta.core.extras import require
from adatta.model.engine import Engine, Sampling


class VllmEngine(Engine):
    """A model folder opened by vLLM; its own generation config is not used."""

    def __init__(self, path: Path, *, context: int | None = None) -> None:
        """Load the folder.

        Args:
            path: the safetensors folder.
            context: most tokens of prompt and answer together; None takes what the config says.
        """
        self._vllm: Any = require("vllm", "vllm")
        self._llm = self._vllm.LLM(model=str(path), max_model_len=context, generation_config="vllm")
        self.context: int = self._llm.llm_engine.model_config.max_model_len
        self._names = map(str, numbers())

    def stream(self, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """Continue `ids`, one id at a time; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """
        self.check_fits(ids, sampling.limit)
        if not sampling.limit:
            return
        engine, name, seen = self._llm.llm_engine, next(self._names), 0
        engine.add_request(name, {"prompt_token_ids": list(ids)}, self._params(sampling, sampling.seed))
        try:
            while engine.has_unfinished_requests():
                for output in (each for each in engine.step() if each.request_id == name):
                    new = output.outputs[0].token_ids[seen:]  # all ids so far stand there
                    seen += len(new)
                    yield from new
        finally:
            engine.abort_request([name])

    def candidates(self, ids: Sequence[int], sampling: Sampling, *, count: int) -> list[tuple[int, ...]]:
        """Draw several answers at once; vLLM shares their prompt. See `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """
        self.check_fits(ids, sampling.limit)
        params = [self._params(sampling, sampling.seed + number) for number in range(count)]
        outputs = self._llm.generate([{"prompt_token_ids": list(ids)}] * count, params, use_tqdm=False)
        return [tuple(output.outputs[0].token_ids) for output in outputs]

    def log_probs(
        self, ids: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        """Score continuations as parts of prompts; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if a continuation doesn't fit into the context behind `ids`, with one id to spare.
        """
        for continuation in continuations:
            self.check_fits(ids, len(continuation) + 1)  # vLLM always writes one
        prompts = [{"prompt_token_ids": [*ids, *continuation]} for continuation in continuations]
        params = self._vllm.SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return [
            tuple(
                told[token].logprob
                for told, token in zip(output.prompt_logprobs[len(ids) :], continuation, strict=True)
            )
            for output, continuation in zip(outputs, continuations, strict=True)
        ]

    def close(self) -> None:
        """Let vLLM end its processes."""
        self._llm = None

    def _params(self, sampling: Sampling, seed: int) -> Any:
        return self._vllm.SamplingParams(
            temperature=sampling.temperature,
            max_tokens=sampling.limit,
            seed=seed,
            stop_token_ids=sorted(sampling.stop_ids),
            ignore_eos=True,  # ends with the ids above only
            detokenize=False,
        )


ENGINE = VllmEngine
