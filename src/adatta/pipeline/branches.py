"""Rows as branches, split where they are longer than the context and the recipe says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from adatta.core.recipe import Recipe
from adatta.core.records import Conversation, Document, Preference, Row
from adatta.core.settings import SftSettings, TrainSettings
from adatta.pipeline.token_store import Group

if TYPE_CHECKING:
    from adatta.chat.render import Chat


class Branches(NamedTuple):
    """The branches of a row, and whether it was split."""

    group: Group
    is_split: bool


def render(row: Row, chat: Chat, *, recipe: Recipe, settings: TrainSettings) -> Branches:
    """Turn a row into its branches: two for a preference, most often one else.

    With `on_overlong: split` one longer than the context is: a document into windows, a conversation into
    parts that begin with a question, each behind the system text; where only its last answer is learnt, the
    last part is all that is needed.
    """
    context = recipe.context if recipe.on_overlong == "split" else sys.maxsize
    match row:
        case Conversation():
            parts = list(_split_turns(row, chat, settings=settings, context=context))
            numbered = enumerate(chain.from_iterable(part.group for part in parts))
            group = tuple(replace(branch, branch=number) for number, branch in numbered)
            return Branches(group, parts[0].is_split)
        case Preference():
            return Branches(chat.preference(row), False)
        case Document():
            windows = chat.document(row, context=context)
            return Branches(windows, len(windows) > 1)


def _split_turns(
    row: Conversation, chat: Chat, *, settings: TrainSettings, context: int, is_part: bool = False
) -> Iterator[Branches]:
    """Yield the branches of each part: a conversation is halved until its parts fit or have one question."""
    learn: dict[str, Any] = {}
    if isinstance(settings, SftSettings):
        learn = {"thoughts": settings.thoughts, "answers": settings.answers}
    group = chat.conversation(row, **learn)
    questions = [place for place, message in enumerate(row.messages) if message.role == "user"]
    if len(questions) < 2 or max(len(branch.ids) for branch in group) <= context:
        yield Branches(group, is_part)
        return
    system, middle = row.messages[: questions[0]], questions[len(questions) // 2]
    halves = (row.messages[:middle], system + row.messages[middle:])
    for messages in halves[1:] if learn.get("answers") == "last" else halves:
        part = replace(row, messages=messages)
        yield from _split_turns(part, chat, settings=settings, context=context, is_part=True)
