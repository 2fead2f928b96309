"""Read a better and a worse answer to one prompt, in the layouts that preference sets have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.core.records import Role
from adatta.data.turns import Reader, Written, build_messages, read_transcript

ANSWERS = ("chosen", "rejected")
_TURN: tuple[Role, Role] = ("user", "assistant")


def read_instruction(fields: Mapping[str, Any], reader: Reader) -> list[Written]:
    """Read what Alpaca's layout asks: `history`, then `instruction` with `input` below it.

    Args:
        fields: the row.
        reader: told what is wrong.
    """
    history = fields.get("history") or []
    if not isinstance(history, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in history):
        what, hint = "history is not a list of pairs", 'write [["question", "answer"], ...]'
        reader.refuse(what, hint, reason="wrong_type", place="history")
        history = []
    said = ((role, text) for pair in history for role, text in zip(_TURN, pair, strict=True))
    turns = [{"role": role, "content": text} for role, text in said]
    asked = reader.text(fields["instruction"], "instruction")
    if more := reader.optional(fields, "input"):
        asked = f"{asked}\n{more}"
    earlier = reader.messages(turns, "history") if turns else []
    return [*earlier, {"role": "user", "content": asked}]


def read_pair(prompt: list[Written] | None, fields: Mapping[str, Any], *, reader: Reader) -> dict[str, Any]:
    """Read `chosen` and `rejected`: texts, messages, or whole conversations that share all but their end.

    Args:
        prompt: what stands before both; None where only the conversations can hold it.
        fields: the row, which may have a `system` text.
        reader: told what is wrong.

    Returns:
        prompt, chosen and rejected in our form, to be used if nothing is wrong.
    """
    (start, chosen), (other, rejected) = (_read_answer(fields[key], key, reader) for key in ANSWERS)
    if reader.mistakes:
        return {}
    if start and isinstance(text := fields.get("prompt"), str):  # UltraFeedback, orpo-dpo-mix
        prompt = None
        if not any(text.strip() in message["content"] for message in start):
            reader.ignored.add("prompt")
    if start != other:
        what, hint = "chosen and rejected continue different prompts", "only the last message may differ"
        reader.refuse(what, hint, reason="different_prompts", place="rejected")
    elif start and prompt is not None and start != prompt:
        what, hint = "chosen doesn't begin with the prompt", "write just the answers, or no prompt"
        reader.refuse(what, hint, reason="different_prompts", place="prompt")
    elif not start and prompt is None:
        hint = "add prompt, or write whole conversations; another key goes into the recipe's fields"
        reader.refuse("no prompt, and answers alone", hint, reason="missing_key", place="prompt")
    before = reader.with_system(start or prompt or [], fields)
    if not reader.mistakes:
        reader.check_order(before, "prompt", last="user")
    if len({message.content.strip() for message in build_messages([chosen, rejected])}) == 1:
        what, hint = "chosen and rejected are equal", "take the row out: it prefers nothing"
        reader.refuse(what, hint, reason="equal_answers", place="rejected")
    return {"prompt": before, "chosen": chosen, "rejected": rejected}


def _read_answer(value: Any, key: str, reader: Reader) -> tuple[list[Written], Written]:
    """Return what stands before an answer, which may be nothing, and the answer."""
    transcript = read_transcript(value) if isinstance(value, str) else []
    messages = reader.messages(transcript or value, key, role="assistant")
    if messages and messages[-1]["role"] != "assistant":
        what = f"{key} has the role {messages[-1]['role']}"
        reader.refuse(what, "an answer has the role assistant", reason="wrong_order", place=key)
    return (messages[:-1], messages[-1]) if messages else ([], {})
