"""The same conversations give the same ids here and in llama.cpp, by the template that the file holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from adatta.chat.parity import HARMLESS
from adatta.chat.render import Chat
from adatta.core.errors import ParityError
from adatta.core.records import Message, shared_length
from adatta.core.yaml_source import packaged_yaml
from adatta.model.engines.llamacpp import LlamaCppEngine

HARD_STRINGS: tuple[str, ...] = tuple(packaged_yaml("adatta.export", "parity.yaml")["hard_strings"])
CONVERSATIONS = (*([Message(role="user", content=text)] for text in HARD_STRINGS), HARMLESS[:3])


def compare_ids(
    chat: Chat, engine: LlamaCppEngine, *, conversations: Sequence[Sequence[Message]] = CONVERSATIONS
) -> int:
    """Compare our ids with llama.cpp's.

    What stands between two tokens of the template is given to its tokenizer as it is. Where no content holds
    such a token, the whole conversation goes llama.cpp's own way, too: its template engine, its tokenizer.

    Args:
        chat: our renderer.
        engine: the exported file.
        conversations: each ends with the user's message.

    Returns:
        How many were compared.

    Raises:
        ParityError: naming the first difference.
    """
    for text in HARD_STRINGS:
        _require_same(text, ours=chat.continuation("", text).ids[1:], theirs=engine.tokenise(text))
    if chat.template is None:
        return len(HARD_STRINGS)
    for messages in conversations:
        ids = chat.prompt(messages)
        for is_added, group in groupby(ids, key=chat.added_tokens.__contains__):
            if not is_added:
                run = tuple(group)
                text = chat.decode(run, keep_special=True)
                _require_same(text, ours=run, theirs=engine.tokenise(text))
        contents = "".join(message.content for message in messages)
        if not any(token in contents for token in chat.added_tokens.values()):
            theirs = engine.tokenise_chat([(message.role, message.content) for message in messages])
            _require_same(messages[-1].content, ours=ids, theirs=theirs)
    return len(conversations)


def _require_same(text: str, *, ours: Sequence[int], theirs: Sequence[int]) -> None:
    """Require the same ids, or name the first that differ."""
    if list(ours) == list(theirs):
        return
    at = shared_length(ours, theirs)
    raise ParityError(
        f"the GGUF file cuts {text!r} into {list(theirs)[at : at + 8]} from token {at} on, the model's own "
        f"tokenizer and template into {list(ours)[at : at + 8]}; the file's pre-tokeniser or template is "
        "not the right one"
    )
