"""Layouts of real data sets become the rows that they mean; what doesn't fit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from adatta.core.records import Conversation, Message, Origin, Preference
from adatta.data.shape import RowKind, Shaped, shape_row

ORIGIN = Origin(path="rows.jsonl", line=3)
ASKED, ANSWERED = Message(role="user", content="Che ore sono?"), Message(role="assistant", content="Le tre.")
RULES, WORSE = Message(role="system", content="Sii breve."), Message(role="assistant", content="Three.")
USER = {"role": "user", "content": "Che ore sono?"}
GOOD, BAD = {"role": "assistant", "content": "Le tre."}, {"role": "assistant", "content": "Three."}
SYSTEM = {"role": "system", "content": "Sii breve."}


def shaped(fields: dict[str, Any], kind: RowKind = "conversation", **names: str) -> Shaped:
    return shape_row(fields, kind, origin=ORIGIN, names=names)


CONVERSATIONS = {
    "messages": ("messages", {"messages": [USER, GOOD]}),
    "messages with empty columns of Parquet": (
        "messages",
        {"messages": [{**USER, "tool_calls": None, "name": None}, GOOD], "tools": None, "system": None},
    ),
    "parts of type text": (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Che ore sono?"}]}, GOOD]},
    ),
    "ShareGPT": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "Che ore sono?"}, {"from": "gpt", "value": "Le tre."}]},
    ),
    "ShareGPT's keys under messages, other names of roles": (
        "messages",
        {"messages": [{"from": "Human", "value": "Che ore sono?"}, {"from": "chatgpt", "value": "Le tre."}]},
    ),
    "ShareGPT with an empty system text": ("sharegpt", {"conversations": [USER, GOOD], "system": ""}),
    "Alpaca": ("alpaca", {"instruction": "Che ore sono?", "output": "Le tre."}),
    "Alpaca with empty fields": (
        "alpaca",
        {"instruction": "Che ore sono?", "input": "", "output": "Le tre.", "system": "", "history": []},
    ),
    "prompt and completion": ("prompt_completion", {"prompt": "Che ore sono?", "completion": "Le tre."}),
    "prompt and completion as messages": ("prompt_completion", {"prompt": [USER], "completion": [GOOD]}),
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_layouts_of_one_conversation_give_the_same_row(case: str) -> None:
    shape, fields = CONVERSATIONS[case]
    result = shaped(fields)
    assert result.mistakes == ()
    assert (result.shape, result.row) == (shape, shaped({"messages": [USER, GOOD]}).row)
    assert isinstance(result.row, Conversation)
    assert result.row.messages == (ASKED, ANSWERED)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [SYSTEM, USER, GOOD]},
        {"messages": [{"role": "developer", "content": "Sii breve."}, USER, GOOD]},
        {"messages": [USER, GOOD], "system": "Sii breve."},
        {"messages": [SYSTEM, USER, GOOD], "system": "Sii breve."},
        {"conversations": [USER, GOOD], "system": "Sii breve."},
        {"instruction": "Che ore sono?", "output": "Le tre.", "system": "Sii breve."},
        {"prompt": [SYSTEM, USER], "completion": "Le tre."},
    ],
)
def test_system_text_stands_first(fields: dict[str, Any]) -> None:
    row = shaped(fields).row
    assert isinstance(row, Conversation)
    assert row.messages == (RULES, ASKED, ANSWERED)


def test_alpaca_puts_input_below_the_instruction_and_history_before() -> None:
    fields = {"instruction": "Traduci.", "input": "dog", "output": "cane", "history": [["cat?", "gatto"]]}
    row = shaped(fields).row
    assert isinstance(row, Conversation)
    assert [message.content for message in row.messages] == ["cat?", "gatto", "Traduci.\ndog", "cane"]


PREFERENCES = {
    "texts": ("preference", {"prompt": "Che ore sono?", "chosen": "Le tre.", "rejected": "Three."}),
    "messages": ("preference", {"prompt": [USER], "chosen": GOOD, "rejected": BAD}),
    "lists of one message": ("preference", {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}),
    "UltraFeedback binarized": (
        "preference",
        {
            "prompt": "Che ore sono?",
            "prompt_id": "f0e1",
            "chosen": [USER, GOOD],
            "rejected": [USER, BAD],
            "messages": [USER, GOOD],
            "score_chosen": 8.5,
            "score_rejected": 2.0,
        },
    ),
    "orpo-dpo-mix-40k": (
        "preference",
        {
            "source": "x",
            "chosen": [USER, GOOD],
            "rejected": [USER, BAD],
            "prompt": "Che ore sono?",
            "question": "Che ore sono?",
        },
    ),
    "prompt as messages, and again in the answers": (
        "preference",
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    ),
    "implicit prompt": ("preference_implicit", {"chosen": [USER, GOOD], "rejected": [USER, BAD]}),
    "hh-rlhf": (
        "preference_implicit",
        {
            "chosen": "\n\nHuman: Che ore sono?\n\nAssistant: Le tre.",
            "rejected": "\n\nHuman: Che ore sono?\n\nAssistant: Three.",
        },
    ),
    "orca_dpo_pairs": (
        "preference_question",
        {"system": "", "question": "Che ore sono?", "chosen": "Le tre.", "rejected": "Three."},
    ),
    "Alpaca": (
        "preference_alpaca",
        {"instruction": "Che ore sono?", "input": "", "chosen": "Le tre.", "rejected": "Three."},
    ),
    "ShareGPT": (
        "preference_sharegpt",
        {
            "conversations": [{"from": "human", "value": "Che ore sono?"}],
            "chosen": {"from": "gpt", "value": "Le tre."},
            "rejected": {"from": "gpt", "value": "Three."},
        },
    ),
}


@pytest.mark.parametrize("case", PREFERENCES)
def test_layouts_of_one_pair_give_the_same_row(case: str) -> None:
    shape, fields = PREFERENCES[case]
    result = shaped(fields, "preference")
    assert result.mistakes == ()
    assert result.shape == shape
    row = result.row
    assert isinstance(row, Preference)
    assert (row.prompt, row.chosen, row.rejected) == ((ASKED,), ANSWERED, WORSE)
    plain = shaped({"prompt": "Che ore sono?", "chosen": "Le tre.", "rejected": "Three."}, "preference").row
    assert row == plain


@pytest.mark.parametrize(
    "fields",
    [
        {"system": "Sii breve.", "question": "Che ore sono?", "chosen": "Le tre.", "rejected": "Three."},
        {"chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]},
        {"prompt": "Che ore sono?", "chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]},
    ],
)
def test_system_text_of_a_pair_belongs_to_the_prompt(fields: dict[str, Any]) -> None:
    result = shaped(fields, "preference")
    assert isinstance(result.row, Preference)
    assert result.row.prompt == (RULES, ASKED)
    assert result.ignored == ()


def test_prompt_beside_conversations_without_it_is_named_as_ignored() -> None:
    fields = {"prompt": "Altro", "chosen": [USER, GOOD], "rejected": [USER, BAD]}
    assert shaped(fields, "preference").ignored == ("prompt",)


THOUGHT = Message(role="assistant", content="Le tre.", thoughts="Guardo l'orologio.")


@pytest.mark.parametrize(
    "answer",
    [
        {**GOOD, "reasoning_content": "Guardo l'orologio."},
        {**GOOD, "reasoning": "Guardo l'orologio."},
        {**GOOD, "thinking": "Guardo l'orologio."},
        {"role": "assistant", "content": "<think>\nGuardo l'orologio.\n</think>\n\nLe tre."},
        {"role": "assistant", "content": "\n<think>Guardo l'orologio.</think>Le tre."},
    ],
)
def test_thoughts_are_told_from_the_answer(answer: dict[str, str]) -> None:
    row = shaped({"messages": [USER, answer]}).row
    assert isinstance(row, Conversation)
    assert row.messages == (ASKED, THOUGHT)
    pair = shaped({"prompt": [USER], "chosen": answer, "rejected": BAD}, "preference").row
    assert isinstance(pair, Preference)
    assert pair.chosen == THOUGHT


def test_think_in_a_question_is_text() -> None:
    row = shaped({"messages": [{"role": "user", "content": "<think>a</think>b"}, GOOD]}).row
    assert isinstance(row, Conversation)
    assert row.messages[0] == Message(role="user", content="<think>a</think>b")


def talk(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def pair(**changes: Any) -> dict[str, Any]:
    return {"prompt": "Che ore sono?", "chosen": "Le tre.", "rejected": "Three.", **changes}


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, "put it into quotes"),
        (True, "put it into quotes"),
        (None, "write a text"),
        (b"Le tre.", "write a text"),
    ],
)
def test_only_what_quotes_make_a_text_is_to_be_put_into_them(value: object, hint: str) -> None:
    told = shape_row(talk(USER, {**GOOD, "content": value}), "conversation", origin=ORIGIN).mistakes
    told += shape_row(talk(USER, GOOD, group=value), "conversation", origin=ORIGIN).mistakes
    assert len(told) == 2 - (value is None)  # a group may be null
    assert all(mistake.hint.startswith(hint) for mistake in told)


def test_empty_list_of_messages_is_called_empty() -> None:
    (mistake,) = shape_row(talk(), "conversation", origin=ORIGIN).mistakes
    assert (mistake.reason, mistake.what) == ("empty", "messages has no message")


MISTAKES: dict[str, tuple[RowKind, dict[str, Any], str, str, str]] = {
    "image": (
        "conversation",
        talk({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, GOOD),
        "unsupported",
        "messages.1.content",
        "messages, message 1: user message has a part of type image_url",
    ),
    "call of a tool": (
        "conversation",
        talk(USER, {**GOOD, "tool_calls": [{"name": "f"}]}),
        "unsupported",
        "messages.2.tool_calls",
        "message 2 has tool_calls",
    ),
    "message not to be learnt": (
        "conversation",
        talk(USER, {**GOOD, "weight": 0}),
        "unsupported",
        "messages.2.weight",
        "message 2 has weight",
    ),
    "tools": (
        "conversation",
        talk(USER, GOOD, tools=[{"name": "f"}]),
        "unsupported",
        "tools",
        "tools (",
    ),
    "rejected completion": (
        "conversation",
        {"prompt": "a", "completion": "b", "label": False},
        "unsupported",
        "label",
        "label (False) can't",
    ),
    "role of a tool": (
        "conversation",
        {"conversations": [{"from": "observation", "value": "a"}]},
        "unknown_role",
        "conversations.1.role",
        "unknown role 'observation'",
    ),
    "message without role": (
        "conversation",
        talk({"rol": "user", "content": "a"}, GOOD),
        "missing_key",
        "messages.1.role",
        "but rol, content",
    ),
    "message that is a text": (
        "conversation",
        talk("a", GOOD),
        "wrong_type",
        "messages.1",
        "no message (str)",
    ),
    "no answer": (
        "conversation",
        talk(USER),
        "wrong_order",
        "messages",
        "messages: wrong order of roles: user",
    ),
    "no answer in ShareGPT's layout": (
        "conversation",
        {"conversations": [{"from": "human", "value": "Ciao"}]},
        "wrong_order",
        "conversations",
        "conversations: wrong order of roles: user",
    ),
    "prompt that ends with an answer": (
        "preference",
        pair(prompt=[USER, GOOD]),
        "wrong_order",
        "prompt",
        "prompt: wrong order of roles: user, assistant",
    ),
    "two system texts": (
        "conversation",
        talk(SYSTEM, USER, GOOD, system="Sii prolisso."),
        "wrong_order",
        "messages",
        "wrong order of roles: system, system",
    ),
    "thoughts alone": (
        "conversation",
        talk(USER, {"role": "assistant", "content": "<think>a</think>\n"}),
        "empty",
        "messages.2.content",
        "answer is empty",
    ),
    "thoughts without end": (
        "conversation",
        talk(USER, {"role": "assistant", "content": "<think>a"}),
        "template_leftover",
        "messages.2.content",
        "its thoughts don't end",
    ),
    "thoughts not a text": (
        "conversation",
        talk(USER, {**GOOD, "thinking": 3}),
        "wrong_type",
        "messages.2.content",
        "is not a text (int)",
    ),
    "history not in pairs": (
        "conversation",
        {"instruction": "a", "output": "b", "history": [["c"]]},
        "wrong_type",
        "history",
        "not a list of pairs",
    ),
    "empty Alpaca output": (
        "conversation",
        {"instruction": "a", "output": ""},
        "empty",
        "output.content",
        "output: answer is empty",
    ),
    "different beginnings": (
        "preference",
        {"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "E tu?"}, BAD]},
        "different_prompts",
        "rejected",
        "chosen and rejected continue different prompts",
    ),
    "conversation against answer": (
        "preference",
        pair(chosen=[USER, GOOD]),
        "different_prompts",
        "rejected",
        "chosen and rejected continue different prompts",
    ),
    "prompt not the beginning": (
        "preference",
        pair(prompt=[SYSTEM, USER], chosen=[USER, GOOD], rejected=[USER, BAD]),
        "different_prompts",
        "prompt",
        "chosen doesn't begin with the prompt",
    ),
    "answers alone": (
        "preference",
        {"chosen": "Le tre.", "rejected": "Three."},
        "missing_key",
        "prompt",
        "no prompt",
    ),
    "conversation that ends with the user": (
        "preference",
        {"chosen": [USER, GOOD, USER], "rejected": [USER, GOOD, USER]},
        "wrong_order",
        "chosen",
        "chosen has the role user",
    ),
    "equal but for thoughts": (
        "preference",
        pair(rejected="<think>a</think>Le tre."),
        "equal_answers",
        "rejected",
        "chosen and rejected are equal",
    ),
    "slip in a key": ("conversation", talk(USER, GOOD, langage="it"), "unknown_key", "langage", "'langage'"),
    "slip in an optional key": (
        "conversation",
        {"instruction": "a", "inputs": "b", "output": "c"},
        "unknown_key",
        "inputs",
        "'inputs'",
    ),
    "key in capitals": ("document", {"TEXT": "a"}, "unknown_key", "TEXT", "'TEXT'"),
    "group not a text": ("document", {"text": "a", "group": 3}, "wrong_type", "group", "group is not a text"),
    "null": ("document", {"text": None, "id": 3}, "missing_key", "text", "missing key 'text'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_is_named_once_with_reason_and_field(case: str) -> None:
    kind, fields, reason, field, what = MISTAKES[case]
    result = shaped(fields, kind)
    assert result.row is None
    assert [(mistake.reason, mistake.field) for mistake in result.mistakes[:1]] == [(reason, field)]
    assert what in result.mistakes[0].what
    assert result.mistakes[0].hint


def test_row_of_no_shape_is_told_what_it_has_and_what_is_nearest() -> None:
    (mistake,) = shaped({"prompt": "a", "answer": "b"}).mistakes
    assert mistake.what == "missing key 'completion'"
    assert mistake.hint.startswith("conversation rows have prompt + completion, or ")
    assert "here: prompt, answer" in mistake.hint
    (mistake,) = shaped({"domanda": "a", "risposta": "b"}).mistakes
    assert mistake.reason == "missing_key"
    assert "messages" in mistake.hint


@pytest.mark.parametrize("column", ["score", "sources", "labels", "prompt_id", "url", "ground", "titles"])
def test_harmless_column_is_ignored_and_named(column: str) -> None:
    result = shaped(talk(USER, GOOD, **{column: 1}))
    assert result.row is not None
    assert result.ignored == (column,)


def test_ignored_keys_of_messages_are_named() -> None:
    assert shaped(talk({**USER, "turn": 1}, GOOD)).ignored == ("messages.turn",)


def test_names_lead_to_our_fields() -> None:
    fields = {"dati": {"q": "Che ore sono?", "r": ["Le tre.", "Three."]}, "extra": 1}
    result = shaped(fields, "preference", prompt="dati.q", chosen="dati.r.0", rejected="dati.r.1")
    assert result.row == shaped(pair(), "preference").row
    assert result.ignored == ("extra",)


def test_names_may_swap_columns_and_contain_dots() -> None:
    fields = {"chosen": "Three.", "rejected": "Le tre.", "a.b": "Che ore sono?"}
    result = shaped(fields, "preference", prompt="a.b", chosen="rejected", rejected="chosen")
    assert result.row == shaped(pair(), "preference").row


def test_names_may_lead_into_messages() -> None:
    turns = [{"chi": "utente", "cosa": "Che ore sono?"}, {"chi": "assistente", "cosa": "Le tre."}]
    result = shaped({"dialogo": turns}, messages="dialogo", role="chi", content="cosa")
    assert result.row == shaped(talk(USER, GOOD)).row


@pytest.mark.parametrize("path", ["risposta", "dati.no", "dati.q.no", "dati.l.7", "dati.l.x"])
def test_mapped_column_that_is_not_there_is_named(path: str) -> None:
    fields = {"dati": {"q": "a", "l": ["b"]}, "prompt": "c"}
    (mistake,) = shaped(fields, completion=path).mistakes
    assert mistake.what == f"no column {path!r}, which stands for completion"
    assert (mistake.reason, mistake.field) == ("missing_key", "completion")
    assert "dati, prompt" in mistake.hint


def test_optional_mapped_column_may_be_null() -> None:
    fields = {"q": "Che ore sono?", "completion": "Le tre.", "regole": None}
    assert shaped(fields, prompt="q", system="regole").row == shaped(talk(USER, GOOD)).row


@pytest.mark.parametrize(
    "write", [json.dumps, str, lambda messages: f"{messages}\n".replace("}, {", "}\n {")]
)
def test_messages_that_a_table_made_a_text_are_refused(write: Callable[[Any], str]) -> None:
    rows: list[tuple[RowKind, dict[str, Any], set[str]]] = [
        ("conversation", {"messages": write([USER, GOOD])}, {"messages"}),
        ("conversation", {"prompt": write([USER]), "completion": write(GOOD)}, {"prompt", "completion"}),
        (
            "preference",
            {"prompt": "Che ore sono?", "chosen": write([USER, GOOD]), "rejected": write([USER, BAD])},
            {"chosen", "rejected"},
        ),
    ]
    for kind, fields, wrong in rows:
        mistakes = shaped(fields, kind).mistakes
        assert {mistake.field for mistake in mistakes} == wrong
        assert {mistake.reason for mistake in mistakes} == {"wrong_type"}
        assert all("messages written as a text" in mistake.what for mistake in mistakes)


@pytest.mark.parametrize(
    "answer",
    ['[{"value": 3}]', '{"role": "admin", "name": "Ada"}', "`[{'role': 'user', 'content': 'Ciao'}]`"],
)
def test_json_in_an_answer_is_text(answer: str) -> None:
    assert shaped({"prompt": "Scrivi JSON.", "completion": answer}).row is not None


def test_messages_stay_short_whatever_the_row_holds() -> None:
    long = "x" * 5000
    for fields in ({long: 1}, {"text": 1, long: 2}, talk({"role": long, "content": "a"}), talk({long: "a"})):
        for mistake in shaped(fields).mistakes:
            assert len(mistake.what) + len(mistake.hint) < 600
