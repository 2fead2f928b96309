"""Special tokens of a chat format: begin of text, end of text, and what ends an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from adatta.chat.encode import Encoded, Encoder
from adatta.chat.template import Rendering
from adatta.core.errors import TemplateError

_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "<｜end▁of▁sentence｜>", "</s>")


def token_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that a tokenizer's configuration names, as `bos_token`, `eos_token`, ..."""
    given = {key: value for key, value in config.items() if key.endswith("_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in given.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def find_borders(encoder: Encoder, names: Mapping[str, str], *, model: Mapping[str, Any]) -> tuple[int, int]:
    """Return the ids that stand before a text and after it.

    The end is a token known by name, else what tokenizer or model call their end; where they name no
    beginning, it stands there, too.

    Args:
        encoder: The tokenizer.
        names: What `token_names` gave.
        model: The model's configuration.

    Raises:
        TemplateError: There is no end.
    """
    known = next((encoder.added_ids[name] for name in _END_OF_TEXT if name in encoder.added_ids), None)
    end = _id_of(encoder, names.get("eos_token"), model.get("eos_token_id")) if known is None else known
    if end is None:
        raise TemplateError(
            "the tokenizer has no end-of-text token; name one as eos_token in tokenizer_config.json"
        )
    begin = _id_of(encoder, names.get("bos_token"), model.get("bos_token_id"))
    return end if begin is None else begin, end


def find_stops(encoder: Encoder, answered: Rendering | None, *, configured: Iterable[Any]) -> tuple[int, ...]:
    """Collect what ends an answer: end of turn, end of text, the generation config's list.

    Args:
        encoder: The tokenizer.
        answered: A conversation that ends with an answer; None without a template.
        configured: Ids, lists of ids, or None, that end an answer in any case.

    Raises:
        TemplateError: Nothing ends the answer.
    """
    stops = {number for value in configured for number in _numbers(value)}
    if answered is not None:
        encoded = encoder.encode_rendering(answered)
        tail = added_from(encoded, answered.spans[-1].end)
        if not tail:
            raise TemplateError(
                "the chat template ends the assistant's turn without an added token, so the model couldn't "
                "learn to stop; use a template with an end-of-turn token, or name one in chat/profiles"
            )
        stops |= {encoded.ids[tail[0]], encoded.ids[tail[-1]]}
    return tuple(sorted(stops))


def added_from(encoded: Encoded, start: int) -> list[int]:
    """Return the places of the added tokens that end behind character `start`."""
    places = enumerate(zip(encoded.added, encoded.last_char, strict=True))
    return [place for place, (added, last) in places if added and last >= start]


def _id_of(encoder: Encoder, name: str | None, number: Any) -> int | None:
    """Return the id of a special token by its name, else the configuration's number."""
    found = None if name is None else encoder.tokenizer.token_to_id(name)
    return next(iter(_numbers(number)), None) if found is None else int(found)


def _numbers(value: Any) -> list[int]:
    """Return the ids in a configuration's value: a number, a list of them, or nothing."""
    return [value] if isinstance(value, int) else list(value or ())
