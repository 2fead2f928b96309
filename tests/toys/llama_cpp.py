"""llama.cpp's own tokenisation and probabilities, as an oracle."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import xllamacpp


class LlamaCpp:
    """A GGUF file in llama.cpp, which listens on this machine only, with a key."""

    def __init__(self, path: Path, *, context: int = 64, is_exact: bool = False) -> None:
        """Open a file; exact means keys and values in fp32, and no attention in half precision."""
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.warmup = False
        params.cpuparams.n_threads = 2
        params.verbosity = -1
        if is_exact:
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        self._server = xllamacpp.Server(params)

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return the ids of a text; special tokens in it are plain text unless `parse_special`."""
        return self._ask("/tokenize", {"content": text, "parse_special": parse_special})["tokens"]

    def chat_template(self) -> str:
        """Return the chat template of the file."""
        return self._ask("/props")["chat_template"]

    def next_log_probs(self, ids: Sequence[int], count: int, *, plain: int | None = None) -> dict[int, float]:
        """Return the `count` likeliest tokens after `ids` with their log-probs in nats.

        llama.cpp reports none where its own choice is half a character: `plain`, a token of whole text, is
        then chosen in its place, which changes no log-prob.
        """
        body = {"prompt": list(ids), "n_predict": 1, "n_probs": count, "temperature": 0.0}
        body["logit_bias"] = [] if plain is None else [[plain, 1e6]]
        answer = self._ask("/completion", body)["completion_probabilities"][0]
        return {entry["id"]: entry["logprob"] for entry in answer["top_logprobs"]}

    def _ask(self, route: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            self._server.listening_address + route,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
