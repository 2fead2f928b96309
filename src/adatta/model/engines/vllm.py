"""vLLM, for GPUs: a safetensors folder, many sequences at once; never run here (docs/limits.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count as numbers
from pathlib import Path
from typing import Any

from adatta.core.extras import require
from adatta.model.engine import Engine, Ids, Sampling


class VllmEngine(Engine):
    """A model folder opened by vLLM, which keeps prompts; its own generation config is not used."""

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

    def stream(self, ids: Ids, sampling: Sampling) -> Iterator[int]:
        """Continue `ids`, one id at a time; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context.
        """
        self.check_fits(ids, sampling.limit)
        if not sampling.limit:
            return
        engine, name, seen = self._llm.llm_engine, next(self._names), 0
        engine.add_request(name, {"prompt_token_ids": list(ids)}, self._params(sampling))
        try:
            while engine.has_unfinished_requests():
                for output in (each for each in engine.step() if each.request_id == name):
                    new = output.outputs[0].token_ids[seen:]  # all ids so far stand there
                    seen += len(new)
                    yield from new
        finally:
            engine.abort_request([name])

    def log_probs(self, ids: Ids, continuations: Sequence[Ids]) -> list[tuple[float, ...]]:
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

    def _params(self, sampling: Sampling) -> Any:
        return self._vllm.SamplingParams(
            temperature=sampling.temperature,
            max_tokens=sampling.limit,
            seed=sampling.seed,
            stop_token_ids=sorted(sampling.stop_ids),
            ignore_eos=True,  # ends with the ids above only
            detokenize=False,
        )


ENGINE = VllmEngine
