"""llama.cpp through xllamacpp: a GGUF file, the prompt as an id array, ids and log-probs back.

The most likely answer is one streamed request. llama.cpp doesn't tell the ids within a character that takes
several tokens; each of these is asked for by itself. A sampled or scored answer takes one request a token, in
which llama.cpp only computes: the choice is made here, from its most likely candidates.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import secrets
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import xllamacpp

from adatta.core.errors import ModelError
from adatta.model.engine import Engine, Ids, Sampling

CANDIDATES = 100
"""Sampling draws from this many of the most likely ids."""

_FORCE = 1e6
"""A bias that makes one id the sampled one; reported log-probs are those before the bias."""

_ALL = 1 << 24
"""More ids than any vocabulary has."""

_LEAST_LOGP = -87.0
"""llama.cpp tells logarithms of probabilities in fp32, which are whole down to here."""


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
        params.fit_params = False  # it would load the model twice, to place it on GPUs
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

    def stream(self, ids: Ids, sampling: Sampling) -> Iterator[int]:
        """Continue `ids`, one id at a time; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context, or an id is unknown.
        """
        self.check_fits(ids, sampling.limit)
        drawn = (candidate.id for candidate in self.stream_scored(ids, sampling))
        with closing(drawn if sampling.temperature > 0 else self._greedy(ids, sampling.limit)) as tokens:
            for token in tokens:
                yield token
                if token in sampling.stop_ids:
                    return

    def stream_scored(self, ids: Ids, sampling: Sampling, *, keep: bool | None = None) -> Iterator[Candidate]:
        """Continue `ids` as `stream` does, each id with its log-prob (temperature 1, whole vocabulary).

        Args:
            ids: the context, at least one id.
            sampling: how the answer is drawn.
            keep: whether what `ids` share with the last request is kept; None leaves it to `reuse_prefix`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context, or an id is unknown.
        """
        self.check_fits(ids, sampling.limit)
        generator = random.Random(sampling.seed)
        path = list(ids)
        keep = self._reuse_prefix if keep is None else keep
        for step in range(sampling.limit):
            chosen = _choose(self._next(path, keep=keep or step > 0), sampling.temperature, generator)
            path.append(chosen.id)
            yield chosen
            if chosen.id in sampling.stop_ids:
                return

    def candidates(self, ids: Ids, sampling: Sampling, *, count: int) -> list[tuple[int, ...]]:
        """Draw several answers to one prompt, computed once; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if `ids` and the answer don't fit into the context, or an id is unknown.
        """
        answers = []
        for number in range(count):
            each = replace(sampling, seed=sampling.seed + number)
            answers.append(self.stream_scored(ids, each, keep=True if number else None))
        return [tuple(candidate.id for candidate in answer) for answer in answers]

    def log_probs(self, ids: Ids, continuations: Sequence[Ids]) -> list[tuple[float, ...]]:
        """Score continuations, one request an id; see `adatta.model.engine.Engine`.

        Raises:
            ModelError: if a continuation doesn't fit into the context behind `ids`, or an id is less likely
                than llama.cpp can tell.
        """
        keep, found = self._reuse_prefix, []
        for continuation in continuations:
            self.check_fits(ids, len(continuation))
            path, scores = list(ids), list[float]()
            for token in continuation:
                scores.append(self._log_prob(path, token, keep=keep))
                path.append(token)
                keep = True
            found.append(tuple(scores))
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

    def _greedy(self, ids: Ids, limit: int) -> Generator[int, None, None]:
        """Yield the most likely ids up to the limit, whatever ends an answer."""
        path, keep = list(ids), self._reuse_prefix
        while len(path) < len(ids) + limit:
            with closing(self._told(path, len(ids) + limit - len(path), keep=keep)) as told:
                for token in told:
                    path.append(token)
                    yield token
            keep = True

    def _told(self, ids: list[int], limit: int, *, keep: bool) -> Generator[int, None, None]:
        """Yield the most likely next ids, at least one, as far as one streamed request tells them."""
        options = {"temperature": 0.0, "stream": True, "return_tokens": True, "cache_prompt": keep}
        body = json.dumps({"prompt": ids, "n_predict": limit, **options})
        count = 0
        with self._ask("/completion", body) as lines:
            for event in (json.loads(line.removeprefix(b"data: ")) for line in lines if line.strip()):
                if not event.get("tokens") or event["tokens_predicted"] != count + 1:
                    break  # an error, the end, or half a character before
                count += 1
                yield event["tokens"][0]
        if not count:
            yield self._next(ids, keep=keep)[0].id

    def _next(self, ids: list[int], *, keep: bool, count: int = CANDIDATES) -> list[Candidate]:
        """Return the most likely next ids, best first; the server's own choice is forced and not used."""
        choice = self._forced(ids, self._probe, keep=keep, count=count)
        return [Candidate(entry["id"], entry["logprob"]) for entry in choice["content"][0]["top_logprobs"]]

    def _log_prob(self, ids: list[int], token: int, *, keep: bool) -> float:
        told = self._forced(ids, token, keep=keep, count=1)
        if told:
            logp = float(told["content"][0]["logprob"])
        else:  # the id ends within a character
            logp = dict(self._next(ids, keep=True, count=_ALL))[token]
        if logp < _LEAST_LOGP:
            raise ModelError(
                f"id {token} has a log-prob under {_LEAST_LOGP:g}, which llama.cpp can't tell; "
                "score with the model's folder, through transformers"
            )
        return logp

    def _forced(self, ids: list[int], token: int, *, keep: bool, count: int) -> Any:
        """Return what llama.cpp tells of `count` next ids where `token` is made its choice."""
        answer = self._complete(ids, n_probs=count, cache_prompt=keep, logit_bias=[[token, _FORCE]])
        if "error" in answer:
            raise ModelError(f"llama.cpp refused the ids: {answer['error']['message']}")
        return answer["choices"][0]["logprobs"]

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
        with self._ask(path, body) as lines:
            answer: dict[str, Any] = json.loads(b"".join(lines))
        return answer

    @contextmanager
    def _ask(self, path: str, body: str | None) -> Iterator[Iterable[bytes]]:
        """Ask a route over the server's port; gives the lines of the answer as they come."""
        address = self._server.listening_address.removeprefix("http://")
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        with closing(http.client.HTTPConnection(address)) as connection:
            connection.request("POST" if body else "GET", path, body=body, headers=headers)
            with connection.getresponse() as answer:
                yield answer


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
