"""What follows given ids: whole characters as they come, spaces kept, why it ended, room in the context."""

from __future__ import annotations

import pytest

from adatta.core.errors import ModelError
from adatta.model.completion import complete
from adatta.model.engine import Engine, Sampling
from tests.toys.byte_chat import STOP_ID, ByteChat

PROMPT = tuple(b"Roma")


class Scripted(Engine):
    """Gives the same ids whatever it is asked."""

    def __init__(self, text: str, context: int = 100) -> None:
        self.ids, self.context = [*text.encode(), STOP_ID], context

    def log_probs(self, ids, continuations):
        raise NotImplementedError

    def stream(self, ids, sampling):
        self.check_fits(ids, sampling.limit)
        for token in self.ids[: sampling.limit]:
            yield token
            if token in sampling.stop_ids:
                return

    def close(self) -> None:
        self.context = 0


class Stripping(ByteChat):
    """Drops the space that a text begins with, as decoders of SentencePiece do, and what stops."""

    def decode(self, ids):
        return super().decode(token for token in ids if token != STOP_ID).removeprefix(" ")


def go_on(text: str, *, limit: int = 50, context: int = 100, **options):
    sampling = Sampling(stop_ids=(STOP_ID,), limit=limit, seed=0)
    return complete(Scripted(text, context), PROMPT, chat=Stripping(), sampling=sampling, **options)


def test_text_comes_in_whole_characters_with_the_space_before_it() -> None:
    pieces: list[str] = []
    found = go_on(" è 👋", show=pieces.append)
    assert pieces == [" ", "è", " ", "👋"]
    assert found == (" è 👋", 9, "stop")


def test_the_limit_ends_a_text() -> None:
    assert go_on(" bella", limit=3) == (" be", 3, "length")


def test_the_context_ends_a_text_before_the_limit() -> None:
    assert go_on(" bella", context=len(PROMPT) + 2) == (" b", 2, "length")


def test_a_prompt_as_long_as_the_context_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"the prompt 'Roma'\.\.\. has 4 tokens, the model takes 4; shorten it"
    ):
        go_on(" bella", context=len(PROMPT))
