"""What a shape is: how the JSON objects of one row kind look; the shapes themselves are in `data/shapes`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from adatta.core.records import Message, Origin, Role, Row

METADATA = ("fault", "group", "id", "language", "register", "source", "title", "topic", "unsafe")
_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_MESSAGE_KEYS = {"role", "content"}


class Mistake(NamedTuple):
    """What is wrong in a row and what to do."""

    what: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The row kind that a file name in `data/shapes` stands for.

    `keys` must all be there; `check` yields what is wrong with their values; `build` is called for rows
    without a mistake and gets the fields and their place.
    """

    keys: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], Iterator[Mistake]]
    build: Callable[[Mapping[str, Any], Origin], Row]


def check_messages(messages: Any, *, name: str, last: Role) -> Iterator[Mistake]:
    """Check a list of messages: known roles in the right order, no empty content.

    Args:
        messages: The value as it was read.
        name: Its key, for the message.
        last: Role of the last message.

    Yields:
        What is wrong; order is looked at only where each message by itself is right.
    """
    if not isinstance(messages, list) or not messages:
        yield Mistake(f"{name} is not a list of messages", 'write [{"role": "user", "content": "..."}, ...]')
        return
    mistakes = [
        mistake
        for number, message in enumerate(messages, start=1)
        for mistake in check_message(message, name=f"{name}, message {number}")
    ]
    yield from mistakes or _check_order([message["role"] for message in messages], name, last)


def check_message(message: Any, *, name: str) -> Iterator[Mistake]:
    """Check one message by itself.

    Args:
        message: The value as it was read.
        name: Where it stands, for the message.

    Yields:
        What is wrong.
    """
    if not isinstance(message, dict) or set(message) != _MESSAGE_KEYS:
        yield Mistake(f"{name} doesn't have just the keys role and content", "write both, and nothing else")
    elif message["role"] not in _ROLES:
        yield Mistake(f"{name}: unknown role {message['role']!r}", f"roles are {', '.join(_ROLES)}")
    else:
        what = "answer" if message["role"] == "assistant" else f"{message['role']} message"
        yield from check_text(message["content"], name=f"{name}: {what}")


def check_text(text: Any, *, name: str) -> Iterator[Mistake]:
    """Check that a value is a text with something in it.

    Args:
        text: The value as it was read.
        name: Its key or place, for the message.

    Yields:
        What is wrong.
    """
    if not isinstance(text, str):
        yield Mistake(f"{name} is not a text ({type(text).__name__})", "put it into quotes")
    elif not text:
        yield Mistake(f"{name} is empty", "write a text, or take the row out")
    elif not text.strip():
        yield Mistake(f"{name} is nothing but whitespace", "write a text, or take the row out")


def read_messages(messages: list[dict[str, Any]]) -> tuple[Message, ...]:
    """Build messages from checked objects."""
    return tuple(Message(role=message["role"], content=message["content"]) for message in messages)


def metadata(fields: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the metadata that rows keep."""
    return {"language": fields.get("language"), "group": fields.get("group")}


def _check_order(roles: list[Role], name: str, last: Role) -> Iterator[Mistake]:
    turns = roles[1:] if roles[0] == "system" else roles
    wanted = [("user", "assistant")[number % 2] for number in range(len(turns))]
    if turns != wanted or not turns or turns[-1] != last:
        yield Mistake(
            f"{name}: wrong order of roles: {', '.join(roles)}",
            f"expected: system once or not at all, then user and assistant in turn, {last} last",
        )
