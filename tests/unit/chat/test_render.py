"""Ids and loss masks of conversations, preferences, prompts, documents and continuations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from adatta.chat.render import Chat
from adatta.core.errors import ModelError, TemplateError
from adatta.core.records import Conversation, Document, Message, Origin, Preference, TokenRow
from tests.unit.chat.families import FAMILIES, write_family, write_json

ORIGIN = Origin(path="a.jsonl", line=1)
END = {family: fields[3] for family, fields in FAMILIES.items()}
SYSTEM = "Rispondi sempre in italiano, con parole semplici."
given_with_fixtures = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

words = st.sampled_from(
    [*"abcàèìòù 12.,:'«»\n😀漢", "  ", " la ", "casa", "<|im_end|>", "<|eot_id|>", "</s>"]
)
contents = st.lists(words, min_size=1, max_size=12).map("".join).filter(str.strip)
stripped = contents.map(str.strip)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def answer(content: str) -> Message:
    return Message(role="assistant", content=content)


def conversation(*messages: Message) -> Conversation:
    return Conversation(messages=messages, row_id="row", origin=ORIGIN)


def preference(prompt: str, chosen: str, rejected: str) -> Preference:
    return Preference(
        prompt=(user(prompt),), chosen=answer(chosen), rejected=answer(rejected), row_id="row", origin=ORIGIN
    )


def document(text: str) -> Document:
    return Document(text=text, row_id="row", origin=ORIGIN)


def byte_ends(folder: Path, ids: Iterable[int]) -> list[int]:
    """Add up the bytes of byte-level tokens, read off the vocabulary."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()}
    alphabet = set(ByteLevel.alphabet())
    ends, end = [], 0
    for number in ids:
        token = tokenizer.id_to_token(number)
        assert number in added or set(token) <= alphabet
        end += len(added[number].encode()) if number in added else len(token)
        ends.append(end)
    return ends


def scored_text(chat: Chat, row: TokenRow) -> str:
    ids = [number for number, weight in zip(row.ids, row.weights, strict=True) if weight]
    return chat.decode(ids, keep_special=True)


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("family", ["chatml", "llama3"])
@given_with_fixtures
@given(texts=st.tuples(stripped, stripped, stripped, stripped))
def test_mask_scores_tokens_whose_last_byte_the_assistant_writes(
    family: str, texts: tuple[str, ...], chats: dict[str, Chat], family_folders: dict[str, Path]
) -> None:
    first, second, third, fourth = texts
    (row,) = chats[family].conversation(
        conversation(user(first), answer(second), user(third), answer(fourth))
    )
    # Independent of offsets: the text is put together by hand and measured in bytes.
    if family == "chatml":
        pieces = [
            "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n<|im_start|>user\n" + first,
            "<|im_end|>\n<|im_start|>assistant\n",
            second + "<|im_end|>",
            "\n<|im_start|>user\n" + third + "<|im_end|>\n<|im_start|>assistant\n",
            fourth + "<|im_end|>",
            "\n",
        ]
    else:
        head = "<|start_header_id|>{}<|end_header_id|>\n\n"
        pieces = [
            "<|begin_of_text|>" + head.format("user") + first,
            "<|eot_id|>" + head.format("assistant"),
            second + "<|eot_id|>",
            head.format("user") + third + "<|eot_id|>" + head.format("assistant"),
            fourth + "<|eot_id|>",
        ]
    borders = [0]
    for piece in pieces:
        borders.append(borders[-1] + len(piece.encode()))
    ends = byte_ends(family_folders[family], row.ids)
    assert ends[-1] == borders[-1]
    expected = [float(borders[2] < end <= borders[3] or borders[4] < end <= borders[5]) for end in ends]
    assert list(row.weights) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_mask_covers_answers_and_end_of_turn_and_nothing_else(family: str, chats: dict[str, Chat]) -> None:
    (row,) = chats[family].conversation(
        conversation(user("Sì?"), answer("La casa."), user("E poi?"), answer("Il mare."))
    )
    end = END[family]
    space = " " if family == "llama2" else ""
    text = scored_text(chats[family], row)
    assert text.replace(" ", "") == f"Lacasa.{space}{end}Ilmare.{end}".replace(" ", "")
    assert (row.weights[0], row.row_id, row.branch) == (0.0, "row", 0)
    assert len(row.ids) == len(row.weights)
    assert set(row.weights) == {0.0, 1.0}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_answer_alone_is_the_end_of_all(family: str, chats: dict[str, Chat]) -> None:
    row = conversation(user("Sì?"), answer("La casa."), user("E poi?"), answer("Il mare."))
    (every,), (last,) = (chats[family].conversation(row, answers=answers) for answers in ("all", "last"))
    assert (last.ids, last.row_id) == (every.ids, every.row_id)
    start = max(place for place, weight in enumerate(every.weights) if not weight) + 1
    if every.weights[-1] == 0:  # some families write a line break behind the end of turn
        end = max(place for place, weight in enumerate(every.weights) if weight)
        start = max(place for place in range(end) if not every.weights[place]) + 1
    assert last.weights == (*[0.0] * start, *every.weights[start:])
    assert scored_text(chats[family], last).replace(" ", "") == f"Ilmare.{END[family]}".replace(" ", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_last_scored_token_is_a_stop_id(family: str, chats: dict[str, Chat]) -> None:
    chat = chats[family]
    rows = [
        *chat.conversation(conversation(user("a"), answer("b"))),
        *chat.preference(preference("a", "b", "c")),
    ]
    for row in rows:
        last = max(place for place, weight in enumerate(row.weights) if weight)
        assert row.ids[last] in chat.stop_ids


# ---------------------------------------------------------------- typed special tokens


def encode_all(chat: Chat, text: str) -> dict[str, tuple[int, ...]]:
    """Encode a text in every place where a user's words may stand."""
    messages = (user(text), answer(text), user(text), answer(text))
    chosen, rejected = chat.preference(preference(text, text, text + "!"))
    return {
        "conversation": chat.conversation(conversation(*messages))[0].ids,
        "chosen": chosen.ids,
        "rejected": rejected.ids,
        "prompt": chat.prompt(messages[:-1]),
        "document": chat.document(document(text), 10_000)[0].ids,
        "context": chat.continuation(text, "a").ids,
        "continuation": chat.continuation("a", text).ids,
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_typed_added_tokens_stay_text_everywhere(family: str, chats: dict[str, Chat]) -> None:
    special, ordinary, _, _, _ = FAMILIES[family]
    typed = " ".join(["Prima", *special, *ordinary, "dopo"]) + "".join([*special, *ordinary])
    chat = chats[family]
    unknown = chat._encoder.added_ids.get("<unk>", -1)
    added = set(chat._encoder.added_ids.values()) - {unknown}
    harmless, injected = encode_all(chat, "Prima, dopo"), encode_all(chat, typed)
    for place, ids in injected.items():
        theirs = [number for number in harmless[place] if number in added]
        assert [number for number in ids if number in added] == theirs, place
        assert unknown not in ids, place


def test_typed_tokens_stay_text_where_the_vocabulary_holds_them_whole(tmp_path: Path) -> None:
    # Unmerged, a vocabulary that knows the whole word would give it.
    folder = write_family(tmp_path / "llama3", "llama3")
    fields = json.loads((folder / "tokenizer.json").read_text())
    fields["pre_tokenizer"] = {**fields["pre_tokenizer"]["pretokenizers"][1], "use_regex": False}
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    chat = Chat.load(folder)
    assert "<|eot_id|>" in fields["model"]["vocab"]
    end = chat._encoder.added_ids["<|eot_id|>"]
    assert end not in chat.document(document("<|eot_id|>"), 100)[0].ids
    assert end not in chat.continuation("", "<|eot_id|>").ids


def test_typed_tokens_stay_text_in_a_unigram_vocabulary(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "mistral", "mistral")
    fields = json.loads((folder / "tokenizer.json").read_text())
    letters = sorted({char for char in "".join(fields["model"]["vocab"]) if char.isprintable()})
    names = [token["content"] for token in fields["added_tokens"]]
    pieces = [[name, 0.0] for name in names] + [[char, -3.0] for char in letters]
    fields["model"] = {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False}
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    plain = Tokenizer.from_str(json.dumps({**fields, "added_tokens": []}))
    assert 2 in plain.encode("</s>").ids
    (folder / "chat_template.jinja").unlink()
    chat = Chat.load(folder)
    assert set(chat.document(document("<s>[INST]</s>"), 100)[0].ids[1:-1]).isdisjoint(range(len(names)))


def test_load_refuses_a_special_token_that_merges_make(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "chatml", "chatml")
    fields = json.loads((folder / "tokenizer.json").read_text())
    casa = fields["model"]["vocab"]["Ġcasa"]
    fields["added_tokens"].append(
        {**fields["added_tokens"][0], "id": casa, "content": "Ġcasa", "special": True}
    )
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(TemplateError, match="'Ġcasa' out of plain text"):
        Chat.load(folder)


# ---------------------------------------------------------------- begin-of-text, prompts, preferences


@pytest.mark.parametrize("family", ["llama3", "mistral"])
def test_begin_of_text_stands_once_and_first(family: str, chats: dict[str, Chat]) -> None:
    chat = chats[family]
    for ids in encode_all(chat, "Ciao").values():
        assert ids[0] == chat.prefix_id
        assert ids.count(chat.prefix_id) == 1


def test_begin_of_text_is_not_added_where_the_template_has_none(chats: dict[str, Chat]) -> None:
    chat = chats["qwen"]
    ids = chat.conversation(conversation(user("a"), answer("b")))[0].ids
    assert chat.prefix_id not in ids
    assert chat.decode(ids[:1], keep_special=True) == "<|im_start|>"


@pytest.mark.parametrize("family", FAMILIES)
@given_with_fixtures
@given(texts=st.tuples(contents, contents, contents))
def test_both_answers_go_on_from_the_prompts_own_ids(
    family: str, texts: tuple[str, str, str], chats: dict[str, Chat]
) -> None:
    chat = chats[family]
    row = preference(*texts)
    prompt = chat.prompt(row.prompt)
    for branch, told in enumerate(chat.preference(row)):
        assert told.ids[: len(prompt)] == prompt
        assert not any(told.weights[: len(prompt)])
        assert told.branch == branch
        assert told.weights[len(prompt)] == 1.0


def test_answers_that_begin_with_a_newline_are_cut_off_the_prompt(chats: dict[str, Chat]) -> None:
    chat = chats["chatml"]
    chosen, _ = chat.preference(preference("a", "\n\nsì", "no"))
    (together,) = chat.conversation(conversation(user("a"), answer("\n\nsì")))
    # Encoded together, the header's newline and the answer's are one token.
    assert chosen.ids != together.ids
    assert chat.decode(chosen.ids) == chat.decode(together.ids)
    assert scored_text(chat, chosen) == "\n\nsì<|im_end|>"


def test_preference_scores_the_last_answer_only(chats: dict[str, Chat]) -> None:
    row = Preference(
        prompt=(user("a"), answer("prima"), user("b")),
        chosen=answer("sì"),
        rejected=answer("no"),
        row_id="row",
        origin=ORIGIN,
    )
    chat = chats["chatml"]
    assert [scored_text(chat, told) for told in chat.preference(row)] == ["sì<|im_end|>", "no<|im_end|>"]


def test_system_prompt_stands_before_conversations_without_one(family_folders: dict[str, Path]) -> None:
    chat = Chat.load(family_folders["chatml"], SYSTEM)
    own = Message(role="system", content="Mia.")
    ids = chat.conversation(conversation(user("a"), answer("b")))[0].ids
    assert chat.decode(ids) == f"system\n{SYSTEM}\nuser\na\nassistant\nb\n"
    assert chat.decode(chat.prompt((own, user("a")))) == "system\nMia.\nuser\na\nassistant\n"
    assert scored_text(chat, *chat.conversation(conversation(own, user("a"), answer("b")))) == "b<|im_end|>"


# ---------------------------------------------------------------- documents and continuations


@pytest.mark.parametrize("family", FAMILIES)
@given_with_fixtures
@given(text=contents, context=st.integers(2, 12), score_end=st.booleans())
def test_document_windows_score_each_token_once(
    family: str, text: str, context: int, score_end: bool, chats: dict[str, Chat]
) -> None:
    chat = chats[family]
    windows = chat.document(document(text), context, score_end=score_end)
    tokens = chat._encoder.encode_text(text).ids
    whole = (chat.prefix_id, *tokens, *([chat.end_id] if score_end else []))
    assert tuple(i for window in windows for i in window.ids[1:]) == whole[1:]
    for number, window in enumerate(windows):
        assert window.branch == number
        assert 2 <= len(window.ids) <= context
        assert window.weights == (0.0, *[1.0] * (len(window.ids) - 1))
        assert window.ids[0] == (windows[number - 1].ids[-1] if number else chat.prefix_id)
    assert all(len(window.ids) == context for window in windows[:-1])


@given_with_fixtures
@given(
    context=st.sampled_from(["", "la cas", "La casa ", "a 😀"]),
    text=st.sampled_from(["a", " bella", "😀 mare", "漢"]),
)
def test_continuation_scores_tokens_whose_last_byte_is_in_the_text(
    context: str, text: str, chats: dict[str, Chat], family_folders: dict[str, Path]
) -> None:
    row = chats["chatml"].continuation(context, text, row_id="q")
    joint = chats["chatml"]._encoder.encode_text(context + text).ids
    assert row.ids == (chats["chatml"].prefix_id, *joint)
    ends = byte_ends(family_folders["chatml"], joint)
    assert list(row.weights) == [0.0, *(float(end > len(context.encode())) for end in ends)]
    assert row.row_id == "q"


def test_continuation_scores_a_token_that_straddles_the_border(chats: dict[str, Chat]) -> None:
    row = chats["chatml"].continuation("La cas", "a")
    assert scored_text(chats["chatml"], row) == " casa"


# ---------------------------------------------------------------- special ids and files


def test_special_ids_of_each_family(chats: dict[str, Chat]) -> None:
    found = {name: (chat.prefix_id, chat.end_id, chat.stop_ids) for name, chat in chats.items()}
    assert found == {
        "chatml": (1, 0, (0, 2)),
        "qwen": (0, 0, (0, 2)),
        "llama3": (0, 1, (1, 4)),
        "mistral": (1, 2, (2,)),
        "llama2": (1, 2, (2,)),
    }


def changed(folder: Path, source: Path, change: Callable[[Path], None]) -> Path:
    shutil.copytree(source, folder)
    change(folder)
    return folder


def test_special_ids_come_from_the_configuration_where_the_tokenizer_names_none(
    family_folders: dict[str, Path], tmp_path: Path
) -> None:
    def change(folder: Path) -> None:
        (folder / "tokenizer_config.json").unlink()
        write_json(folder / "config.json", {"bos_token_id": 7, "eos_token_id": [3, 2]})
        write_json(folder / "generation_config.json", {"eos_token_id": 9})

    chat = Chat.load(changed(tmp_path / "a", family_folders["qwen"], change))
    assert (chat.prefix_id, chat.end_id, chat.stop_ids) == (7, 0, (0, 2, 9))


def test_model_without_template_has_documents_but_no_conversations(
    family_folders: dict[str, Path], tmp_path: Path
) -> None:
    chat = Chat.load(
        changed(tmp_path / "a", family_folders["llama2"], lambda f: (f / "chat_template.jinja").unlink())
    )
    assert chat.template is None
    assert chat.stop_ids == (2,)
    assert chat.document(document("La casa"), 50)[0].ids[-1] == chat.end_id
    with pytest.raises(TemplateError, match="no chat template"):
        chat.prompt([user("a")])


@pytest.mark.parametrize("as_list", [False, True])
def test_template_is_read_from_the_tokenizers_configuration(
    family_folders: dict[str, Path], tmp_path: Path, as_list: bool
) -> None:
    def change(folder: Path) -> None:
        source = (folder / "chat_template.jinja").read_text()
        (folder / "chat_template.jinja").unlink()
        named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": source}]
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["eos_token"] = {"content": "<|im_end|>", "special": True}
        write_json(
            folder / "tokenizer_config.json", {**config, "chat_template": named if as_list else source}
        )

    chat = Chat.load(changed(tmp_path / "a", family_folders["chatml"], change))
    assert chat.template == FAMILIES["chatml"][4]
    assert chat.template_hash == Chat.load(family_folders["chatml"]).template_hash


def test_template_hash_covers_template_and_system_prompt(family_folders: dict[str, Path]) -> None:
    folders = [family_folders["chatml"], family_folders["llama3"]]
    hashes = {Chat.load(folder, system).template_hash for folder in folders for system in (None, SYSTEM)}
    assert len(hashes) == 4


def test_exported_template_without_system_prompt_is_the_models_own(family_folders: dict[str, Path]) -> None:
    folder = family_folders["chatml"]
    assert Chat.load(folder).exported_template() == Chat.load(folder).template
    with_prompt = Chat.load(folder, "Ciao").exported_template()
    assert with_prompt.endswith(FAMILIES["chatml"][4])
    assert len(with_prompt) > len(FAMILIES["chatml"][4])


TEMPLATES_REFUSED = {
    "an end of turn": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "couldn't learn to stop",
    ),
    "the role system": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}",
        "refuses",
    ),
}


@pytest.mark.parametrize("lacking", TEMPLATES_REFUSED)
def test_load_refuses_a_template_without(
    lacking: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    source, message = TEMPLATES_REFUSED[lacking]
    folder = changed(
        tmp_path / "a",
        family_folders["chatml"],
        lambda f: (f / "chat_template.jinja").write_text(source) and None,
    )
    with pytest.raises(TemplateError, match=message):
        Chat.load(folder, SYSTEM)


def test_training_refuses_a_template_that_asks_in_another_way(
    family_folders: dict[str, Path], tmp_path: Path
) -> None:
    source = FAMILIES["chatml"][4].replace("<|im_start|>assistant\n'", "<|im_start|>assistant\n<think>\n'")
    folder = changed(
        tmp_path / "a",
        family_folders["chatml"],
        lambda f: (f / "chat_template.jinja").write_text(source) and None,
    )
    chat = Chat.load(folder)
    assert chat.decode(chat.prompt([user("a")])).endswith("assistant\n<think>\n")
    with pytest.raises(TemplateError, match="in another way than the prompt"):
        chat.conversation(conversation(user("a"), answer("b")))


def test_load_refuses_a_folder_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no tokenizer"):
        Chat.load(tmp_path)


def test_prompt_refuses_no_messages(chats: dict[str, Chat]) -> None:
    with pytest.raises(TemplateError, match="without messages"):
        chats["chatml"].prompt(())


def test_decode_leaves_special_tokens_out_unless_asked(chats: dict[str, Chat]) -> None:
    ids = [*chats["chatml"]._encoder.encode_text("perché 😀").ids, 2]
    assert chats["chatml"].decode(ids) == "perché 😀"
    assert chats["chatml"].decode(ids, keep_special=True) == "perché 😀<|im_end|>"
