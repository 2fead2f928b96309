"""What ends a turn of the template that is exported."""

from __future__ import annotations

from collections.abc import Collection

from adatta.chat.render import Chat
from adatta.core.errors import ExportError
from adatta.core.records import Conversation, Message, Origin

QUESTION, ANSWER = Message(role="user", content="Ciao"), Message(role="assistant", content="Salve")


def find_end_of_turn(chat: Chat, stop_ids: Collection[int]) -> int:
    """Return the id that training teaches as the end of an answer; without a template, end of text.

    Raises:
        ExportError: if it is not among `stop_ids`: the exported model would never stop.
    """
    end = chat.end_id
    if chat.template is not None:
        example = Conversation(messages=(QUESTION, ANSWER), row_id="", origin=Origin(path="", line=0))
        (row,) = chat.conversation(example)
        end = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight][-1]
    if end not in stop_ids:
        raise ExportError(
            f"the end of turn {chat.decode([end], keep_special=True)!r} ({end}) is not among the stop ids "
            f"{sorted(stop_ids)}, so the exported model would never stop; add it to generation_config.json"
        )
    return end
