"""Rows with a better and a worse answer: `{"prompt": [...], "chosen": {...}, "rejected": {...}}`.

A text in place of messages is one message: the user's in `prompt`, the assistant's in the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adatta.core.fingerprint import content_id
from adatta.core.records import Origin, Preference
from adatta.data.shape import (
    Mistake,
    Shape,
    check_message,
    check_messages,
    check_text,
    metadata,
    read_messages,
)

_ANSWERS = ("chosen", "rejected")


def _check(fields: Mapping[str, Any]) -> Iterator[Mistake]:
    if isinstance(fields["prompt"], str):
        yield from check_text(fields["prompt"], name="prompt")
    else:
        yield from check_messages(fields["prompt"], name="prompt", last="user")
    mistakes = [mistake for key in _ANSWERS for mistake in _check_answer(fields[key], key)]
    yield from mistakes
    if not mistakes:
        chosen, rejected = (_full(fields)[key]["content"].strip() for key in _ANSWERS)
        if chosen == rejected:
            yield Mistake("chosen and rejected are equal", "take the row out: it prefers nothing")


def _check_answer(answer: Any, key: str) -> Iterator[Mistake]:
    if isinstance(answer, str):
        yield from check_text(answer, name=f"{key}: answer")
    elif isinstance(answer, dict) and answer.get("role") in ("user", "system"):
        yield Mistake(f"{key} has the role {answer['role']}", "an answer has the role assistant")
    else:
        yield from check_message(answer, name=key)


def _full(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write a row's messages out in full."""
    prompt = fields["prompt"]
    written = {"prompt": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt}
    for key in _ANSWERS:
        answer = fields[key]
        written[key] = {"role": "assistant", "content": answer} if isinstance(answer, str) else answer
    return written


def _build(fields: Mapping[str, Any], origin: Origin) -> Preference:
    full = _full(fields)
    chosen, rejected = read_messages([full[key] for key in _ANSWERS])
    return Preference(
        prompt=read_messages(full["prompt"]),
        chosen=chosen,
        rejected=rejected,
        row_id=content_id(full),
        origin=origin,
        **metadata(fields),
    )


SHAPE = Shape(keys=("prompt", "chosen", "rejected"), check=_check, build=_build)
