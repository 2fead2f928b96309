"""Read messages as data sets write them: keys, roles and parts of many kinds, all in one form afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adatta.core.records import Message, Role

Written = dict[str, Any]
"""A message in our form: role, content and, where a key of its own held them, thoughts."""

_NAMES = {
    "system": "system developer sistema",
    "user": "user human prompter utente",
    "assistant": "assistant gpt chatgpt model bot bing bard assistente",
}
ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
THOUGHTS = ("thoughts", "reasoning_content", "reasoning", "thinking")
_UNSUPPORTED = ("tool_calls", "function_call", "audio", "images", "videos")
_OPEN, _CLOSE = "<think>", "</think>"
# What a table makes of messages: [{"role": "user", ...}], or as Python writes it.
_OBJECTS = re.compile(r"\[?\s*\{")
_HAS_ROLE = re.compile(r"""(['"])(?:role|from)\1\s*:\s*(['"])(?:system|user|assistant|human|gpt)\2""")
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")


class Mistake(NamedTuple):
    """What is wrong in a row, what to do, the reason's name, and the field.

    Who reads a row names its own field, dotted (messages count from 1); who checks it then does so in words.
    """

    what: str
    hint: str
    reason: str
    field: str


@dataclass(slots=True, kw_only=True)
class Reader:
    """Reads the values of one row; collects what is wrong with them and what is passed over.

    `names` is the recipe's field map; it may name the keys of messages, `role` and `content`, too.
    """

    names: Mapping[str, str]
    mistakes: list[Mistake] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)

    def refuse(self, what: str, hint: str, *, reason: str, place: str) -> None:
        """Note a mistake; `place` is the field, dotted."""
        self.mistakes.append(Mistake(what, hint, reason, place))

    def refuse_type(self, value: Any, place: str, *, name: str) -> None:
        """Note that a value is no text; a number in quotes would be one."""
        hint = "put it into quotes" if isinstance(value, int | float) else "write a text, or take the row out"
        what = f"{name} is not a text ({type(value).__name__})"
        self.refuse(what, hint, reason="wrong_type", place=place)

    def text(self, value: Any, place: str, *, name: str = "") -> str:
        """Return a text with something in it; parts of type text are joined, other parts refused.

        Args:
            value: as it was read.
            place: the field, dotted.
            name: the field in words, where they differ.

        Returns:
            The text; empty where there is none.
        """
        name = name or place
        if isinstance(value, list):
            kinds = [part.get("type") if isinstance(part, dict) else part for part in value]
            other = [str(kind) for kind in kinds if kind != "text"]
            if other:
                what = f"{name} has a part of type {other[0]:.60}"
                self.refuse(what, "only texts can be trained on", reason="unsupported", place=place)
                return ""
            value = "".join(str(part.get("text") or "") for part in value)
        if not isinstance(value, str):
            self.refuse_type(value, place, name=name)
            return ""
        if not value or value.isspace():
            what = f"{name} is {'nothing but whitespace' if value else 'empty'}"
            self.refuse(what, "write a text, or take the row out", reason="empty", place=place)
        return value

    def optional(self, fields: Mapping[str, Any], key: str) -> str:
        """Return the text of a key that may be missing, null or blank: then it is empty."""
        value = fields.get(key)
        return self.text(value, key) if value and not (isinstance(value, str) and value.isspace()) else ""

    def messages(self, value: Any, place: str, *, role: Role | None = None) -> list[Written]:
        """Bring a list of messages into one form.

        Args:
            value: as it was read: OpenAI's keys or ShareGPT's, any usual name of a role.
            place: the field, dotted.
            role: whose it is, where it may be a text or one message, too.

        Returns:
            The messages that are right.
        """
        if self._is_written_as_text(value, place):
            return []
        if role and not isinstance(value, list):
            one = {"role": role, "content": value} if isinstance(value, str) else value
            return [message] if (message := self.message(one, place)) else []
        if not isinstance(value, list) or not value:
            hint = 'write [{"role": "user", "content": "..."}, ...]'
            what = f"{place} {'has no message' if value == [] else 'is not a list of messages'}"
            self.refuse(what, hint, reason="empty" if value == [] else "wrong_type", place=place)
            return []
        before = len(self.mistakes)
        read = [self.message(message, f"{place}.{number}") for number, message in enumerate(value, 1)]
        return read if len(self.mistakes) == before else []

    def message(self, value: Any, place: str) -> Written:
        """Bring one message into the form of role and content.

        Args:
            value: as it was read.
            place: the field, dotted.

        Returns:
            The message; empty where there is a mistake.
        """
        list_name, _, number = place.partition(".")
        name = f"{list_name}, message {number}" if number else list_name
        if not isinstance(value, dict):
            what = f"{name} is no message ({type(value).__name__})"
            self.refuse(what, 'write {"role": ..., "content": ...}', reason="wrong_type", place=place)
            return {}
        who = next((key for key in (self.names.get("role"), "role", "from") if key in value), None)
        words = next((key for key in (self.names.get("content"), "content", "value") if key in value), None)
        if len(value) > 2:
            self._pass_over({key: value[key] for key in value if key not in (who, words)}, place, name)
        if who is None or words is None:
            what = f"{name} doesn't have the keys role and content, but {', '.join(map(str, value))[:200]}"
            missing = f"{place}.{'content' if who else 'role'}"
            self.refuse(what, "write both", reason="missing_key", place=missing)
            return {}
        role = ROLES.get(str(value[who]).strip().lower())
        if role is None:
            what = f"{name}: unknown role {value[who]!r:.60}"
            hint = "roles are system, user, assistant"
            self.refuse(what, hint, reason="unknown_role", place=f"{place}.role")
            return {}
        place, name = f"{place}.content", f"{name}: {'answer' if role == 'assistant' else role + ' message'}"
        message: Written = {"role": role, "content": self.text(value[words], place, name=name)}
        if role == "assistant":
            if thoughts := next((value[key] for key in THOUGHTS if value.get(key)), None):
                message["thoughts"] = thoughts
            self._check_thoughts(message, place, name)
        return message

    def check_order(self, messages: Sequence[Written], place: str, *, last: Role) -> None:
        """Refuse roles that don't follow each other as in a conversation.

        Args:
            messages: in our form.
            place: their field.
            last: role of the last one.
        """
        roles = [message["role"] for message in messages]
        turns = roles[1:] if roles[:1] == ["system"] else roles
        if not turns or turns[-1] != last or turns != (["user", "assistant"] * len(turns))[: len(turns)]:
            what = f"{place}: wrong order of roles: {', '.join(roles)}"
            hint = f"expected: system once or not at all, then user and assistant in turn, {last} last"
            self.refuse(what, hint, reason="wrong_order", place=place)

    def with_system(self, messages: list[Written], fields: Mapping[str, Any]) -> list[Written]:
        """Put a row's `system` text, if there is one, before its messages.

        Args:
            messages: in our form.
            fields: the row.
        """
        first: Written = {"role": "system", "content": self.optional(fields, "system")}
        return [first, *messages] if first["content"] and messages[:1] != [first] else messages

    def _is_written_as_text(self, value: Any, place: str) -> bool:
        """Refuse messages that were made a text, which would be learnt as it stands there."""
        text = value.strip() if isinstance(value, str) else ""
        if not text.endswith(("]", "}")) or not _OBJECTS.match(text) or not _HAS_ROLE.search(text):
            return False
        hint = "write a list, in JSONL or Parquet; to keep it as a text, write it as code, in `backticks`"
        self.refuse(f"{place} holds messages written as a text", hint, reason="wrong_type", place=place)
        return True

    def _pass_over(self, rest: Mapping[str, Any], place: str, name: str) -> None:
        """Ignore what a message holds beside its words, but for what would be lost with it."""
        for key, value in rest.items():
            if value in (None, "", [], {}) or key in THOUGHTS:
                continue
            if key in _UNSUPPORTED or (key == "weight" and value != 1):
                what = f"{name} has {key}, which can't be trained on"
                self.refuse(what, "take the row out", reason="unsupported", place=f"{place}.{key}")
            else:
                self.ignored.add(f"{place.partition('.')[0]}.{key}")

    def _check_thoughts(self, message: Written, place: str, name: str) -> None:
        content = message["content"]
        if "thoughts" in message:
            self.text(message["thoughts"], place, name=f"thoughts before {name}")
        elif content.lstrip().startswith(_OPEN):
            if _CLOSE not in content:
                what, hint = f"{name}: its thoughts don't end", f"write {_CLOSE} before the answer"
                self.refuse(what, hint, reason="template_leftover", place=place)
            else:
                self.text(_split(content)[1], place, name=name)


def build_messages(written: Sequence[Written]) -> tuple[Message, ...]:
    """Build messages from right ones in our form; thoughts that begin an answer are told from it."""
    messages = []
    for message in written:
        thoughts, content = message.get("thoughts", ""), message["content"]
        if message["role"] == "assistant" and not thoughts:
            thoughts, content = _split(content)
        messages.append(Message(role=message["role"], content=content, thoughts=thoughts))
    return tuple(messages)


def read_transcript(text: str) -> list[Written]:
    r"""Read a conversation written as a text: `\n\nHuman: ...\n\nAssistant: ...`, the layout of hh-rlhf.

    Returns:
        The messages, unchecked; none for any other text.
    """
    before, *parts = _SPEAKER.split(text.strip())
    if before or not parts:
        return []
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": ROLES[who.lower()], "content": said.strip()} for who, said in turns]


def _split(content: str) -> tuple[str, str]:
    """Split thoughts, written as DeepSeek R1 and Qwen 3 do, from the answer behind them."""
    if not content.lstrip().startswith(_OPEN):
        return "", content
    thoughts, _, answer = content.lstrip().removeprefix(_OPEN).partition(_CLOSE)
    return thoughts.strip("\n"), answer.lstrip("\n")
