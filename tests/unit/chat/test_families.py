"""Published templates, one of each kind (all of them: tests/areas/rows): masks, thoughts, hostile texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from adatta.chat.family import Family, list_families
from adatta.chat.render import Chat
from adatta.core.errors import TemplateError
from adatta.core.records import Conversation, Message, Origin
from tests.unit.chat.hostile import hostile_texts
from tests.unit.chat.published import ANSWERS, THOUGHTS, expected, published, tokens_of, write_published

NAMES = (
    *("cohere2", "deepseek_r1_distill", "gemma", "gemma3", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5_v2"),
    *(
        "llama3_1",
        "nemotron_3_nano",
        "phi3",
        "qwen2_5",
        "qwen3",
        "qwen3_5_think",
        "qwen3_8",
        "smolvlm",
    ),
)
ORIGIN = Origin(path="a.jsonl", line=1)
SYSTEM = Message(role="system", content="Sii breve.")


def user(content: str) -> Message:
    return Message(role="user", content=content)


def answer(content: str, thoughts: str = "") -> Message:
    return Message(role="assistant", content=content, thoughts=thoughts)


def conversation(*messages: Message) -> Conversation:
    return Conversation(messages=messages, row_id="r", origin=ORIGIN)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Chat]:
    root = tmp_path_factory.mktemp("published")
    return {name: Chat.load(write_published(root / name, name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_scored_is_what_the_model_writes_after_its_prompts(
    name: str, loaded: dict[str, Chat]
) -> None:
    chat = loaded[name]
    messages = (SYSTEM, user("Chi è?"), answer("È Dante."), user("E poi?"), answer("Nulla."))
    rows = chat.conversation(conversation(*messages))
    (last,) = chat.conversation(conversation(*messages), answers="last")
    prompts = [chat.decode(chat.prompt(messages[:end]), keep_special=True) for end in (2, 4)]
    written = []
    for row in rows:
        ids = [number for number, weight in zip(row.ids, row.weights, strict=True) if weight]
        written.append(chat.decode(ids, keep_special=True))
    texts = [expected(ANSWERS, name).format(answer=text) for text in ("È Dante.", "Nulla.")]
    assert "".join(written) == "".join(texts)
    assert last.ids == rows[-1].ids
    ids = [number for number, weight in zip(last.ids, last.weights, strict=True) if weight]
    assert chat.decode(ids, keep_special=True) == texts[-1]
    asked = prompts if len(rows) == 2 else prompts[1:]
    for row, prompt in zip(rows, asked, strict=True):
        assert chat.decode(row.ids, keep_special=True).startswith(prompt)


@pytest.mark.parametrize("name", [name for name in NAMES if expected(THOUGHTS, name)])
def test_thoughts_are_dropped_or_scored(name: str, loaded: dict[str, Chat]) -> None:
    chat = loaded[name]
    thinking = (user("Chi è?"), answer("È Dante.", "Penso."), user("E poi?"), answer("Nulla.", "Ripenso."))
    bare = (user("Chi è?"), answer("È Dante."), user("E poi?"), answer("Nulla."))
    dropped = chat.conversation(conversation(*thinking))
    assert dropped == chat.conversation(conversation(*bare))
    kept = chat.conversation(conversation(*thinking), "keep")
    before = expected(THOUGHTS, name)
    for row, thoughts in zip(kept[-2:], ["Penso.", "Ripenso."][-len(kept) :], strict=True):
        ids = [number for number, weight in zip(row.ids, row.weights, strict=True) if weight]
        text = before.format(thoughts="Penso." if len(kept) == 1 else thoughts)
        assert chat.decode(ids, keep_special=True).startswith(text)
    (row,) = chat.conversation(conversation(*thinking[:2]), "keep")
    whole = chat.decode(row.ids, keep_special=True)
    assert whole.count("</think>") == before.count("</think>")
    assert "enso" not in "".join(chat.decode(row.ids) for row in dropped)


def test_thoughts_of_a_model_without_them_are_an_error_when_kept(loaded: dict[str, Chat]) -> None:
    row = conversation(user("Chi è?"), answer("È Dante.", "Penso."))
    with pytest.raises(TemplateError, match=r"thoughts of message 2 \(assistant\) 0 times.*`thoughts: drop`"):
        loaded["qwen2_5"].conversation(row, "keep")


@pytest.mark.parametrize("name", NAMES)
def test_hostile_texts_stay_words(name: str, loaded: dict[str, Chat]) -> None:
    chat = loaded[name]
    added = set(chat._encoder.added_ids.values())

    def tokens(texts: list[str]) -> list[Counter[int]]:
        messages = (user(texts[0]), answer(texts[1]), user(texts[2]), answer(texts[3]))
        rows = [row.ids for row in chat.conversation(conversation(*messages))]
        rows += [chat.prompt(messages[:-1]), chat.continuation("", texts[0]).ids[1:]]
        return [Counter(number for number in ids if number in added) for ids in rows]

    harmless = tokens(["a", "b", "c", "d"])
    texts = hostile_texts(tokens_of(name), 80, seed=1)
    for start in range(0, len(texts), 4):
        assert tokens(texts[start : start + 4]) == harmless, texts[start : start + 4]


def test_border_of_content_and_template_makes_no_token(loaded: dict[str, Chat]) -> None:
    chat = loaded["qwen2_5"]
    messages = (user("a<|im_"), answer("end|>b<"), user("|im_end|>"), answer("<|im_start|"))
    (row,) = chat.conversation(conversation(*messages))
    (plain,) = chat.conversation(conversation(user("a"), answer("b"), user("c"), answer("d")))
    added = set(chat._encoder.added_ids.values())
    assert [i for i in row.ids if i in added] == [i for i in plain.ids if i in added]


@pytest.mark.parametrize("name", ["qwen3", "deepseek_r1_distill", "gptoss"])
def test_without_its_profile_a_family_is_refused(
    name: str, loaded: dict[str, Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    template = loaded[name]._need_template()
    monkeypatch.setattr(template, "family", Family())
    row = conversation(user("a"), answer("b"), user("c"), answer("d"))
    messages = {
        "qwen3": "writes an earlier answer in another way",
        "deepseek_r1_distill": "writes a conversation in another way than the prompt",
        "gptoss": "ends an answer without an added token that stops generation",
    }
    with pytest.raises(TemplateError, match=messages[name]):
        loaded[name].conversation(row)


def test_a_template_without_end_of_turn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adatta.chat.template.find_family", lambda text: Family())
    with pytest.raises(TemplateError, match="without an added token, so the model couldn't learn to stop"):
        Chat.load(write_published(tmp_path / "glm", "glm4moe"))


@pytest.mark.parametrize("name", ["qwen3_5_think", "gemma", "deepseek_r1_distill"])
def test_exported_template_asks_without_being_told_how(name: str, tmp_path: Path) -> None:
    chat = Chat.load(write_published(tmp_path / "own", name), "Sii breve.")
    folder = write_published(tmp_path / "out", name)
    (folder / "chat_template.jinja").write_text(chat.exported_template(), encoding="utf-8")
    exported = Chat.load(folder)
    compiled = exported._need_template()._compiled
    text = compiled.render(
        messages=[{"role": "user", "content": "Chi è?"}], add_generation_prompt=True, bos_token="<|bos|>"
    )
    assert text == chat.decode(chat.prompt([user("Chi è?")]), keep_special=True)


def test_every_profile_names_known_ways() -> None:
    for family in list_families():
        assert family.recognised_by
        assert set(family.strip) <= {"system", "user", "assistant"}
        family.as_rendered(user(" a "))


def test_templates_at_hand_are_many() -> None:
    assert len(published()) >= 70  # an update that takes them away must be seen
