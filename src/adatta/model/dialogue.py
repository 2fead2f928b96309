"""A conversation with a model: the turns so far, the next answer as text while it is made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from adatta.chat.render import Chat
from adatta.chat.stream import stream_text
from adatta.core.errors import ModelError
from adatta.core.lock import make_once
from adatta.core.records import Message
from adatta.core.runtime import cache_dir
from adatta.model.engine import Engine, Sampling
from adatta.model.gguf import gguf_fingerprint, read_gguf
from adatta.model.gguf_tokenizer import write_config, write_tokenizer

STOP_IDS = "adatta.stop_token_ids"
"""The field of a GGUF file that holds all stop ids; llama.cpp's own fields hold one."""

MIN_ROOM = 64
"""A conversation that leaves fewer tokens than this for an answer is refused, not cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What an answer took: tokens of prompt and answer, seconds until its first token and until its end."""

    prompt_tokens: int
    new_tokens: int
    first_s: float
    total_s: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second behind the first one; 0 where there is none."""
        return (self.new_tokens - 1) / (self.total_s - self.first_s) if self.new_tokens > 1 else 0.0


class Dialogue:
    """Turns of a user and a model; an answer that was broken off counts as far as it went.

    `engine` and `chat` may be replaced between answers. `stats` are those of the last answer, `was_cut` says
    whether the limit or the context ended it.
    """

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
        self.engine, self.chat = engine, chat
        self._sampling = Sampling(stop_ids=(), limit=limit, seed=seed, temperature=temperature)
        self.system = system
        self.was_cut = False
        self.restart()

    def restart(self) -> None:
        """Forget all turns."""
        self.messages = self._first()
        self.stats: Stats | None = None
        self._num_asked = 0

    def load(self, messages: Sequence[Message]) -> None:
        """Go on with other turns; their system message, or that they have none, takes the place of ours."""
        self.system = next((each.content for each in messages if each.role == "system"), None)
        self.restart()
        self.messages = list(messages)

    def set_system(self, text: str) -> None:
        """Replace the system message, of the turns so far too."""
        self.system = text
        rest = [message for message in self.messages if message.role != "system"]
        self.messages = [*self._first(), *rest]

    def ask(self, text: str) -> Iterator[str]:
        """Answer.

        Yields:
            The answer's text as it comes.

        Raises:
            ModelError: if the conversation no longer fits into the context; it stays as it was before.
        """
        return self._answer([*self.messages, Message(role="user", content=text)])

    def regenerate(self) -> Iterator[str]:
        """Answer the last question once more, with the next seed; the new answer takes the old one's place.

        Raises:
            ModelError: if nothing was answered yet.
        """
        if not self.messages or self.messages[-1].role != "assistant":
            raise ModelError("there is no answer yet that could be made again; ask something first")
        return self._answer(self.messages[:-1])

    def _first(self) -> list[Message]:
        return [] if self.system is None else [Message(role="system", content=self.system)]

    def _answer(self, asked: list[Message]) -> Iterator[str]:
        began = time.perf_counter()
        ids = self.chat.prompt(asked)
        wanted = self._sampling.limit
        limit = min(wanted, self.engine.context - len(ids))
        if limit < min(wanted, MIN_ROOM):
            raise ModelError(
                f"the conversation has {len(ids)} tokens and no longer fits into the model's context of "
                f"{self.engine.context} with room for an answer; nothing was left out and nothing answered: "
                "start anew, or ask something shorter"
            )
        sampling = replace(
            self._sampling,
            stop_ids=self.chat.stop_ids,
            limit=limit,
            seed=self._sampling.seed + self._num_asked,
        )
        answer: list[int] = []
        times: list[float] = []

        def collect() -> Iterator[int]:
            for token in self.engine.stream(ids, sampling):
                answer.append(token)
                times.append(time.perf_counter() - began)
                yield token

        try:
            yield from stream_text(collect(), self.chat.decode)
        finally:
            self._num_asked += 1
            self.was_cut = not answer or answer[-1] not in self.chat.stop_ids
            content = self.chat.decode(answer)
            if content.strip():
                self.messages = [*asked, Message(role="assistant", content=content)]
            if times:
                took = {"first_s": times[0], "total_s": times[-1]}
                self.stats = Stats(prompt_tokens=len(ids), new_tokens=len(answer), **took)


def read_gguf_chat(path: Path) -> Chat:
    """Return the chat format that a GGUF file holds; its weights are not touched.

    Args:
        path: the file.

    Raises:
        ModelError: if it can't be read, or its tokenizer isn't of a known kind.
    """
    folder = cache_dir() / "gguf-chat" / f"{path.stem}-{gguf_fingerprint(path)}"
    return Chat.load(make_once(folder, partial(_write_chat, path)))


def _write_chat(path: Path, folder: Path) -> None:
    fields = {key: field.contents() for key, field in read_gguf(path).fields.items()}
    write_tokenizer(fields, folder, path)
    stops = fields.get(STOP_IDS, fields.get("tokenizer.ggml.eos_token_id", []))
    write_config(folder / "generation_config.json", {"eos_token_id": stops})
