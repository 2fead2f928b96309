"""A conversation with a model: the turns so far, the next answer as text while it is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from gguf import GGUFReader

from adatta.chat.render import Chat
from adatta.chat.stream import stream_text
from adatta.core.errors import ModelError
from adatta.core.records import Message
from adatta.core.runtime import cache_dir
from adatta.model.engine import Engine, Sampling
from adatta.model.gguf import gguf_fingerprint, make_once
from adatta.model.gguf_tokenizer import write_tokenizer

STOP_IDS = "adatta.stop_token_ids"
"""The field of a GGUF file that holds all stop ids; llama.cpp's own fields hold one."""


MIN_ROOM = 64
"""A conversation that leaves fewer tokens than this for an answer is refused, not cut."""


class Dialogue:
    """Turns of a user and a model; an answer that was broken off counts as far as it went."""

    def __init__(
        self, engine: Engine, chat: Chat, *, limit: int, system: str | None, temperature: float, seed: int
    ) -> None:
        """Start without any turn.

        Args:
            engine: what answers.
            chat: the model's chat format.
            limit: most new tokens of an answer.
            system: system message; None leaves it to the template.
            temperature: 0 takes the most likely token.
            seed: of the first answer; each later one takes the next number.
        """
        self._engine, self._chat = engine, chat
        self._sampling = Sampling(stop_ids=chat.stop_ids, limit=limit, seed=seed, temperature=temperature)
        self._first = [] if system is None else [Message(role="system", content=system)]
        self.messages = list(self._first)
        self.was_cut = False

    def restart(self) -> None:
        """Forget all turns."""
        self.messages = list(self._first)

    def ask(self, text: str) -> Iterator[str]:
        """Answer; `was_cut` says afterwards whether the limit or the context ended the answer.

        Yields:
            The answer's text as it comes.

        Raises:
            ModelError: if the conversation no longer fits into the context; it stays as it was before.
        """
        asked = [*self.messages, Message(role="user", content=text)]
        ids = self._chat.prompt(asked)
        wanted = self._sampling.limit
        limit = min(wanted, self._engine.context - len(ids))
        if limit < min(wanted, MIN_ROOM):
            raise ModelError(
                f"the conversation has {len(ids)} tokens and no longer fits into the model's context of "
                f"{self._engine.context} with room for an answer; start anew, or ask something shorter"
            )
        sampling = replace(self._sampling, limit=limit, seed=self._sampling.seed + len(self.messages))
        answer: list[int] = []

        def collect() -> Iterator[int]:
            for token in self._engine.stream(ids, sampling):
                answer.append(token)
                yield token

        try:
            yield from stream_text(collect(), self._chat.decode)
        finally:
            self.was_cut = not answer or answer[-1] not in self._chat.stop_ids
            content = self._chat.decode(answer)
            if content.strip():
                self.messages = [*asked, Message(role="assistant", content=content)]


def read_gguf_chat(path: Path) -> Chat:
    """Return the chat format that a GGUF file holds; its weights are not touched.

    Args:
        path: the file.

    Raises:
        ModelError: if its tokenizer isn't of a known kind.
    """
    folder = cache_dir() / "gguf-chat" / f"{path.stem}-{gguf_fingerprint(path)}"
    return Chat.load(make_once(folder, partial(_write_chat, path)))


def _write_chat(path: Path, folder: Path) -> None:
    fields = {key: field.contents() for key, field in GGUFReader(path).fields.items()}
    write_tokenizer(fields, folder, path)
    stops = fields.get(STOP_IDS, fields.get("tokenizer.ggml.eos_token_id", []))
    text = json.dumps({"eos_token_id": stops})
    (folder / "generation_config.json").write_text(text, encoding="utf-8")
