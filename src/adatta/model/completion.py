"""Text behind given ids: what follows as text while it is made, and why it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import tee
from typing import Literal, NamedTuple

from adatta.chat.render import Chat
from adatta.chat.stream import stream_text
from adatta.core.errors import ModelError
from adatta.model.engine import Engine, Sampling

_BEFORE = 8  # ids before the new ones that are decoded with them: some decoders drop a text's first space


class Completion(NamedTuple):
    """A text that was generated, its number of ids, the last among them, and what ended it."""

    text: str
    num_tokens: int
    stop_reason: Literal["stop", "length"]


def complete(
    engine: Engine,
    ids: Sequence[int],
    *,
    chat: Chat,
    sampling: Sampling,
    show: Callable[[str], object] = lambda piece: None,
) -> Completion:
    """Continue ids until a stop id, the limit or the context's end.

    Args:
        engine: what generates.
        ids: the context.
        chat: turns ids into text.
        sampling: how it is drawn; its limit is lowered to the room in the context.
        show: called with each piece of the text as soon as it is known.

    Raises:
        ModelError: the context leaves no room for an answer.
    """
    room = engine.context - len(ids)
    if room < 1:
        raise ModelError(
            f"the prompt {chat.decode(ids[:_BEFORE])!r}... has {len(ids)} tokens, the model takes "
            f"{engine.context}; shorten it"
        )
    sampling = replace(sampling, limit=min(sampling.limit, room))
    tail = list(ids[-_BEFORE:])
    known = len(chat.decode(tail))
    to_show, to_keep = tee(engine.stream(ids, sampling))
    pieces = []
    for piece in stream_text(to_show, lambda new: chat.decode([*tail, *new])[known:]):
        pieces.append(piece)
        show(piece)
    new = list(to_keep)
    return Completion("".join(pieces), len(new), "stop" if new[-1] in sampling.stop_ids else "length")
