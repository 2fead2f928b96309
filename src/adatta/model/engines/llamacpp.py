"""llama.cpp through xllamacpp: a GGUF file, the prompt as an id array, ids and log-probs back.

One request a token, inside the process: a streamed answer leaves out the ids of characters that take several
tokens, and one request a token is as fast, because the server keeps the context (measured: 12 ms a token
either way). llama.cpp only computes; the choice of the token is made here, from its most likely candidates.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import xllamacpp

from adatta.core.errors import ModelError
from adatta.model.engine import Engine, Sampling

CANDIDATES = 100
"""Sampling draws from this many of the most likely ids."""

_EVERY = 1 << 20  # more than any vocabulary has
_FORCE = 1e6
"""A bias that makes one id the sampled one; reported log-probs are those before the bias."""


class Candidate(NamedTuple):
    """An id with its log-prob."""

    id: int
    logp: float


class LlamaCppEngine(Engine):
    """A GGUF file opened by llama.cpp.

    Its HTTP port, which can't be switched off, listens on this machine only, under a random key, closed to
    web pages. Its threads spin: nothing heavy should run beside it.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int | None = None,
        threads: int | None = None,
        reuse_prefix: bool = False,
        is_exact: bool = False,
    ) -> None:
        """Load the file.

        Args:
            path: the GGUF file.
            context: most tokens of prompt and answer together; None takes what the file says.
            threads: computing threads; None takes every core.
            reuse_prefix: keep what a prompt shares with the one before (a conversation's next turn). The last
                bits of log-probs then depend on what was asked before.
            is_exact: keep keys and values in fp32 and leave llama.cpp's flash attention, which takes half
                precision, for comparing a file with its model.

        Raises:
            ModelError: if llama.cpp can't read the file.
        """
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context or 0
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or _num_cores()
        params.cache_ram_mib = 0
        params.warmup = False
        if is_exact:
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.verbosity = -1
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        params.hostnames = ["127.0.0.1"]
        params.cors_origins = ""
        params.cors_credentials = False
        params.ui = False
        params.endpoint_slots = False
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp can't read {path} as a GGUF model ({error})") from error
        self._reuse_prefix = reuse_prefix
        room: int = self._get("/props")["default_generation_settings"]["n_ctx"]  # a multiple of 256
        self.context = min(room, context or room)
        self._probe = self._find_probe()

    def stream(self, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """Continue `ids`, one id at a time; see `adatta.model.engine.Engine`."""
        return (candidate.id for candidate in self.stream_scored(ids, sampling))

    def stream_scored(self, ids: Sequence[int], sampling: Sampling) -> Iterator[Candidate]:
        """Continue `ids` as `stream` does, each id with its log-prob (temperature 1, whole vocabulary).

        Raises:
            ModelError: if `ids` and the answer don't fit into the context, or an id is unknown.
        """
        self.check_fits(ids, sampling.limit)
        generator = random.Random(sampling.seed)
        path = list(ids)
        for step in range(sampling.limit):
            candidates = self._next(path, keep=self._reuse_prefix or step > 0)
            chosen = _choose(candidates, sampling.temperature, generator)
            path.append(chosen.id)
            yield chosen
            if chosen.id in sampling.stop_ids:
                return

    def score(self, ids: Sequence[int]) -> list[float]:
        """Return the log-prob of every id but the first after those before it."""
        found = []
        for end in range(1, len(ids)):
            forced = {"logit_bias": [[ids[end], _FORCE]]}
            answer = self._complete(list(ids[:end]), n_probs=1, cache_prompt=end > 1, **forced)
            if shown := answer["choices"][0]["logprobs"]:
                found.append(shown["content"][0]["logprob"])
            else:  # half a character
                every = self._next(list(ids[:end]), keep=True, count=_EVERY)
                found.append(next(logp for token, logp in every if token == ids[end]))
        return found

    def tokenise(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return llama.cpp's own ids of `text`: for comparing tokenizers.

        Args:
            text: any text.
            parse_special: read special tokens in it, and add begin-of-text, as its own chat route does.
        """
        body = {"content": text, "add_special": parse_special, "parse_special": parse_special}
        return [int(token) for token in self._get("/tokenize", json.dumps(body))["tokens"]]

    def tokenise_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Return the ids that llama.cpp makes of roles and contents, by the template in its file."""
        rows = [{"role": role, "content": content} for role, content in messages]
        text = self._get("/apply-template", json.dumps({"messages": rows}))["prompt"]
        return self.tokenise(text, parse_special=True)

    def close(self) -> None:
        """Stop the server and give back its memory."""
        self._server = None

    def _next(self, ids: list[int], *, keep: bool, count: int = CANDIDATES) -> list[Candidate]:
        """Return the most likely next ids, best first; the server's own choice is forced and not used."""
        forced = {"logit_bias": [[self._probe, _FORCE]]}
        answer = self._complete(ids, n_probs=count, cache_prompt=keep, **forced)
        if "error" in answer:
            raise ModelError(f"llama.cpp refused the ids: {answer['error']['message']}")
        top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return [Candidate(entry["id"], entry["logprob"]) for entry in top]

    def _find_probe(self) -> int:
        """Find an id that is whole text by itself: llama.cpp reports no log-probs at half a character."""
        for first in range(256):
            answer = self._complete([first], n_probs=1, cache_prompt=False)
            if "error" in answer:
                break
            if logprobs := answer["choices"][0]["logprobs"]:
                return int(logprobs["content"][0]["id"])
        raise ModelError("llama.cpp reports no log-probs for this model; expected a text model")

    def _complete(self, ids: list[int], **options: Any) -> Any:
        """Ask for one more id."""
        request = {"prompt": ids, "max_tokens": 1, "temperature": 0.0, **options}
        return self._server.handle_completions(request)

    def _get(self, path: str, body: str | None = None) -> dict[str, Any]:
        """Ask one of the server's own routes."""
        address = self._server.listening_address.removeprefix("http://")
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        with closing(http.client.HTTPConnection(address)) as connection:
            connection.request("POST" if body else "GET", path, body=body, headers=headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


def _num_cores() -> int:
    """Count the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _choose(candidates: Sequence[Candidate], temperature: float, generator: random.Random) -> Candidate:
    """Take the most likely candidate, or draw one at this temperature."""
    if temperature <= 0:
        return candidates[0]
    from_best = [(candidate.logp - candidates[0].logp) / temperature for candidate in candidates]
    weights = [math.exp(value) for value in from_best]
    return generator.choices(candidates, weights)[0]


ENGINE = LlamaCppEngine
