"""What chat/profiles say of families whose templates need a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from adatta.core.records import Message
from adatta.core.yaml_source import packaged_names, packaged_yaml

_STRIPPED: dict[str, Callable[[str], str]] = {
    "both": str.strip,
    "end": str.rstrip,
    "newlines": lambda text: text.lstrip("\n"),  # those at the start
}

JOIN = (
    "{%- if messages[0]['role'] == 'system' %}{%- set messages = [{'role': 'user', 'content': "
    "messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}{%- endif %}\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How a family's template treats messages; `Family()` is the plain kind, which needs no profile.

    - `strip`: what the template takes off a content, by role: at `both` ends, at the `end`, `newlines` at the
      start.
    - `content`: whether it wants contents as text or as parts.
    - `system: user`: it refuses system messages, which then stand in front of the first user message.
    - `answers: apart`: it writes an earlier answer in another way than the last one (without thoughts, with
      another end), so each answer is learnt in a rendering of its own, as it is asked for in use.
    - `end_of_turn`: what the model ends an answer with where the template writes nothing.
    - `close_thoughts`: what the model writes between thoughts and answer where the prompt opens a think block
      that the template itself never closes.
    """

    name: str = ""
    recognised_by: tuple[str, ...] = ()
    strip: Mapping[str, str] = field(default_factory=dict)
    content: Literal["text", "parts"] = "text"
    system: Literal["own", "user"] = "own"
    answers: Literal["together", "apart"] = "together"
    end_of_turn: str = ""
    close_thoughts: str = ""

    def as_rendered(self, message: Message) -> Message:
        """Take off a message what the template takes off."""
        strip = _STRIPPED.get(self.strip.get(message.role, ""), str)
        return replace(message, content=strip(message.content), thoughts=message.thoughts.strip())

    def joined(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Put the system message into the first user message if the template takes none, as `JOIN` does."""
        if self.system == "own" or [message.role for message in messages[:2]] != ["system", "user"]:
            return messages
        user = replace(messages[1], content=f"{messages[0].content}\n\n{messages[1].content}")
        return (user, *messages[2:])

    def fields(self, message: Message) -> dict[str, Any]:
        """Return a message as templates want it; both names for thoughts are in use."""
        parts = [{"type": "text", "text": message.content}]
        content = parts if self.content == "parts" else message.content
        thoughts = {key: message.thoughts for key in ("reasoning_content", "thinking") if message.thoughts}
        return {"role": message.role, "content": content, **thoughts}

    def kept(self, messages: tuple[Message, ...], thoughts: Literal["drop", "keep"]) -> tuple[Message, ...]:
        """Drop thoughts: all, or those that the template drops in use, before the last message."""
        num_dropped = len(messages) if thoughts == "drop" else len(messages) - 1
        if thoughts == "keep" and self.answers == "together":
            return messages
        dropped = (replace(message, thoughts="") for message in messages[:num_dropped])
        return (*dropped, *messages[num_dropped:])


@cache
def list_families() -> tuple[Family, ...]:
    """Read the profiles, sorted by name."""
    names = packaged_names("adatta.chat.profiles")
    return tuple(Family(name=name, **packaged_yaml("adatta.chat.profiles", f"{name}.yaml")) for name in names)


def find_family(template: str) -> Family:
    """Return the family whose marks all stand in a template's source, else the plain one."""
    found = (family for family in list_families() if all(mark in template for mark in family.recognised_by))
    return next(found, Family())
