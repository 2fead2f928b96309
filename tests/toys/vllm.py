"""A module with the documented signatures of vLLM that adatta calls, on transformers; only for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from transformers import AutoModelForCausalLM


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How a request is answered (vllm/sampling_params.py)."""

    temperature: float = 1.0
    max_tokens: int = 16
    seed: int | None = None
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    detokenize: bool = True
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        assert self.max_tokens >= 1


@dataclass
class Request:
    """A request on its way."""

    ids: list[int]
    params: SamplingParams
    generator: torch.Generator
    answer: list[int] = field(default_factory=list)


class LLMEngine:
    """The engine step by step (vllm/v1/engine/llm_engine.py)."""

    def __init__(self, model, context: int) -> None:
        self.model = model
        self.model_config = SimpleNamespace(max_model_len=context)
        self.requests: dict[str, Request] = {}

    def add_request(self, request_id: str, prompt: dict[str, list[int]], params: SamplingParams) -> None:
        """Take a request."""
        assert request_id not in self.requests
        generator = torch.Generator().manual_seed(params.seed or 0)
        self.requests[request_id] = Request(prompt["prompt_token_ids"], params, generator)

    def has_unfinished_requests(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.requests)

    def abort_request(self, request_ids: list[str]) -> None:
        """Forget requests, ended ones too."""
        for name in request_ids:
            self.requests.pop(name, None)

    def step(self) -> list[SimpleNamespace]:
        """Make one id of every request; each output holds all ids so far."""
        outputs = []
        for name, request in list(self.requests.items()):
            params = request.params
            with torch.inference_mode():
                logits_V = self.model(torch.tensor([request.ids + request.answer])).logits[0, -1].double()
            if params.temperature == 0:
                token = int(logits_V.argmax())
            else:
                chance_V = (logits_V / params.temperature).softmax(-1)
                token = int(torch.multinomial(chance_V, 1, generator=request.generator))
            request.answer.append(token)
            is_stop = token in params.stop_token_ids or (token == 2 and not params.ignore_eos)
            if is_stop or len(request.answer) == params.max_tokens:
                del self.requests[name]
            completion = SimpleNamespace(token_ids=tuple(request.answer))
            outputs.append(SimpleNamespace(request_id=name, outputs=[completion]))
        return outputs


class LLM:
    """The offline interface (vllm/entrypoints/llm.py)."""

    def __init__(
        self, model: str, *, max_model_len: int | None = None, generation_config: str = "auto"
    ) -> None:
        assert generation_config == "vllm"  # "auto" would read the folder's own
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
        self.llm_engine = LLMEngine(self.model, max_model_len or self.model.config.max_position_embeddings)

    def generate(self, prompts, sampling_params, *, use_tqdm: bool = True) -> list[SimpleNamespace]:
        """Answer every prompt; one set of parameters stands for all."""
        many = isinstance(sampling_params, list)
        each = sampling_params if many else [sampling_params] * len(prompts)
        return [self._answer(prompt, params) for prompt, params in zip(prompts, each, strict=True)]

    def _answer(self, prompt: dict[str, list[int]], params: SamplingParams) -> SimpleNamespace:
        self.llm_engine.add_request("only", prompt, params)
        while self.llm_engine.has_unfinished_requests():
            (output,) = self.llm_engine.step()
        if params.prompt_logprobs is not None:
            ids = prompt["prompt_token_ids"]
            with torch.inference_mode():
                logp_TV = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            pairs = zip(ids[1:], logp_TV[:-1], strict=True)
            told = [{token: SimpleNamespace(logprob=float(logp_V[token]))} for token, logp_V in pairs]
            output.prompt_logprobs = [None, *told]
        return output
