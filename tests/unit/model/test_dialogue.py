"""A conversation: what the engine is asked, what is kept, and what no longer fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from adatta.chat.render import Chat
from adatta.core.errors import ModelError
from adatta.core.records import Message
from adatta.model.dialogue import Dialogue
from adatta.model.engine import Engine, Ids, Sampling

pytestmark = pytest.mark.torch


class Scripted(Engine):
    """Gives the same ids to every question and remembers what it was asked."""

    def __init__(self, answer: Sequence[int], context: int = 400) -> None:
        self.answer, self.context = answer, context
        self.asked: list[tuple[int, ...]] = []
        self.seeds: list[int] = []

    def stream(self, ids: Ids, sampling: Sampling) -> Iterator[int]:
        self.asked.append(tuple(ids))
        self.seeds.append(sampling.seed)
        for token in self.answer[: sampling.limit]:
            yield token
            if token in sampling.stop_ids:
                return

    def log_probs(self, ids: Ids, continuations: Sequence[Ids]) -> list[tuple[float, ...]]:
        raise NotImplementedError

    def close(self) -> None:
        self.context = 0


@pytest.fixture
def chat(toy_folder: Path) -> Chat:
    return Chat.load(toy_folder)


@pytest.fixture
def hello(chat: Chat) -> list[int]:
    return [*chat.continuation("", "Ciao è 👋").ids[1:], 2]


def start(engine: Engine, chat: Chat, limit: int = 30, system: str | None = None) -> Dialogue:
    return Dialogue(engine, chat, limit=limit, system=system, temperature=0.0, seed=5)


def test_answer_becomes_part_of_the_next_prompt(chat: Chat, hello: list[int]) -> None:
    engine = Scripted(hello)
    dialogue = start(engine, chat)
    assert "".join(dialogue.ask("Chi sei?")) == "Ciao è 👋"
    assert not dialogue.was_cut
    list(dialogue.ask("Ancora?"))
    turns = [("user", "Chi sei?"), ("assistant", "Ciao è 👋"), ("user", "Ancora?")]
    expected = chat.prompt([Message(role=role, content=text) for role, text in turns])
    assert engine.asked[1] == expected
    assert len(set(engine.seeds)) == 2


def test_system_message_stands_first_and_survives_a_restart(chat: Chat, hello: list[int]) -> None:
    engine = Scripted(hello)
    dialogue = start(engine, chat, system="Sii breve.")
    for _ in range(2):
        list(dialogue.ask("Chi sei?"))
        dialogue.restart()
    both = [Message(role="system", content="Sii breve."), Message(role="user", content="Chi sei?")]
    assert engine.asked == [chat.prompt(both)] * 2


def test_answer_at_the_limit_is_said_to_be_cut(chat: Chat, hello: list[int]) -> None:
    dialogue = start(Scripted(hello), chat, limit=2)
    list(dialogue.ask("Chi sei?"))
    assert dialogue.was_cut


def test_broken_off_answer_is_kept_as_far_as_it_went(chat: Chat, hello: list[int]) -> None:
    dialogue = start(Scripted(hello), chat)
    pieces = dialogue.ask("Chi sei?")
    first = next(pieces)
    pieces.close()
    assert dialogue.messages[-1] == Message(role="assistant", content=first)


def test_conversation_over_the_context_is_refused_and_kept(chat: Chat, hello: list[int]) -> None:
    dialogue = start(Scripted(hello, context=100), chat, limit=20)
    list(dialogue.ask("Chi sei?"))
    before = list(dialogue.messages)
    with pytest.raises(ModelError, match="no longer fits into the model's context of 100"):
        list(dialogue.ask("parola " * 60))
    assert dialogue.messages == before


def test_new_system_message_stands_before_the_turns_so_far(chat: Chat, hello: list[int]) -> None:
    dialogue = start(Scripted(hello), chat, system="Sii breve.")
    list(dialogue.ask("Chi sei?"))
    turns = dialogue.messages[1:]
    dialogue.set_system("Sii lungo.")
    assert dialogue.messages == [Message(role="system", content="Sii lungo."), *turns]
    dialogue.restart()
    assert dialogue.messages == [Message(role="system", content="Sii lungo.")]


def test_regenerated_answer_takes_the_old_one_s_place(chat: Chat, hello: list[int]) -> None:
    engine = Scripted(hello)
    dialogue = start(engine, chat)
    list(dialogue.ask("Chi sei?"))
    engine.answer = hello[:2]
    list(dialogue.regenerate())
    assert [message.content for message in dialogue.messages] == ["Chi sei?", chat.decode(hello[:2])]
    assert engine.asked[0] == engine.asked[1]
    assert engine.seeds == [5, 6]


def test_regenerating_before_any_answer_is_refused(chat: Chat, hello: list[int]) -> None:
    with pytest.raises(ModelError, match="no answer yet"):
        start(Scripted(hello), chat).regenerate()


def test_regenerating_without_any_text_keeps_the_old_answer(chat: Chat, hello: list[int]) -> None:
    engine = Scripted(hello)
    dialogue = start(engine, chat)
    list(dialogue.ask("Chi sei?"))
    before = list(dialogue.messages)
    engine.answer = [2]
    list(dialogue.regenerate())
    assert dialogue.messages == before


def test_conversation_started_anew_has_its_seeds_anew(chat: Chat, hello: list[int]) -> None:
    engine = Scripted(hello)
    dialogue = start(engine, chat)
    for _ in range(2):
        list(dialogue.ask("Chi sei?"))
    dialogue.restart()
    list(dialogue.ask("Chi sei?"))
    assert engine.seeds == [5, 6, 5]


def test_stats_count_tokens_and_time(chat: Chat, hello: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: 0.5 * next(ticks))
    engine = Scripted(hello)
    dialogue = start(engine, chat)
    assert dialogue.stats is None
    list(dialogue.ask("Chi sei?"))
    stats = dialogue.stats
    assert (stats.prompt_tokens, stats.new_tokens) == (len(engine.asked[0]), len(hello))
    assert (stats.first_s, stats.tokens_per_s) == (0.5, 2.0)
    engine.answer = [2]
    list(dialogue.ask("Ancora?"))
    assert (dialogue.stats.new_tokens, dialogue.stats.tokens_per_s) == (1, 0.0)
