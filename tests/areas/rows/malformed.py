"""Malformed files, each with the place that an editor shows and the message that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOPICS = ("il pane", "la neve", "un treno", "la scuola", "il vento", "una lettera", "il riso", "la luna")


def good(kind: str, number: int) -> dict[str, Any]:
    """Return a row that nothing is wrong with; no two of them are alike."""
    topic = f"{TOPICS[number % 8]} numero {number}"
    if kind == "adapt":
        return {"text": f"Oggi parliamo di {topic}."}
    if kind == "dpo":
        return {"prompt": f"Che cosa pensi di {topic}?", "chosen": f"Mi piace {topic}.", "rejected": "No."}
    return talk(("user", f"Parlami di {topic}."), ("assistant", f"Volentieri: ecco {topic}."))


def talk(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """Return a conversation as OpenAI writes it."""
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def said(answer: Any, **more: Any) -> dict[str, Any]:
    """Return a conversation of one answer."""
    return talk(("user", "Dimmi qualcosa."), ("assistant", answer), **more)


def prefer(chosen: Any = "Le tre.", rejected: Any = "Tre.", **more: Any) -> dict[str, Any]:
    """Return a preference."""
    return {"prompt": "Che ore sono?", "chosen": chosen, "rejected": rejected, **more}


def encode(row: Any) -> bytes:
    """Write a row as JSON; bytes stay as they are."""
    return row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()


def lines(*rows: Any) -> bytes:
    """Write rows as JSONL."""
    return b"".join(encode(row) + b"\n" for row in rows)


def pretty(*rows: Any) -> bytes:
    """Write rows as a JSON list in the usual layout of many lines, none of which names a row."""
    return b"[\n" + b",\n".join(encode(row) for row in rows) + b"\n]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A file, and what `adatta check` says of it.

    `line` is where the first mistake stands (a record's number where lines don't tell it; None for the file
    as a whole), `what` a part of its message; `mark` stands on that line. `beside` are other files.
    """

    content: bytes
    line: int | None
    reason: str
    what: str
    mark: bytes = b""
    kind: str = "sft"
    settings: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, bytes] = field(default_factory=dict)
    problems: int = 1


def file(
    content: bytes, line: int | None, reason: str, what: str, mark: bytes = b"", **more: Any
) -> Malformed:
    """Describe a file of conversations, or of the kind in `more`."""
    return Malformed(content=content, line=line, reason=reason, what=what, mark=mark, **more)


def sft(row: Any, reason: str, what: str, *, kind: str = "sft", **more: Any) -> Malformed:
    """Put a bad row between good ones of a JSONL file."""
    content = lines(good(kind, 0), row, good(kind, 1))
    return file(content, 2, reason, what, encode(row)[:40], kind=kind, **more)


def dpo(row: Any, reason: str, what: str, **more: Any) -> Malformed:
    """Put a bad preference between good ones."""
    return sft(row, reason, what, kind="dpo", **more)


def adapt(row: Any, reason: str, what: str, **more: Any) -> Malformed:
    """Put a bad document between good ones."""
    return sft(row, reason, what, kind="adapt", **more)


G = [good("sft", number) for number in range(8)]
D = [good("adapt", number) for number in range(40)]
ENGLISH = (
    "The river was wide and slow there, and the old ferry took almost an hour to reach the other side of it."
)

JSONL = {
    "cut.jsonl": sft(b'{"messages": [', "broken_json", "broken JSON: Expecting value at column 15"),
    "comma.jsonl": sft(b'{"messages": [],}', "broken_json", "broken JSON: "),
    "single-quotes.jsonl": sft(b"{'messages': []}", "broken_json", "broken JSON: Expecting property name"),
    "two-on-a-line.jsonl": sft(encode(G[2]) + encode(G[3]), "broken_json", "broken JSON: Extra data at col"),
    "key-twice.jsonl": sft(
        b'{"messages": [], "messages": []}', "broken_json", "unusable JSON: the key 'messages' stands twice"
    ),
    "nan.jsonl": sft(
        b'{"messages": [], "score": NaN}', "broken_json", "unusable JSON: NaN is no JSON number"
    ),
    "huge-number.jsonl": sft(
        b'{"n": ' + b"9" * 5000 + b"}", "broken_json", "unusable JSON: Exceeds the limit"
    ),
    "deep.jsonl": sft(b'{"messages": ' + b"[" * 100_000, "broken_json", "unusable JSON: "),
    "newline-in-text.jsonl": file(
        lines(G[0], b'{"text": "Una riga', b"e un'altra.\"}", G[1]),
        2,
        "broken_json",
        "broken JSON: Unterminated string starting at column 10",
        b"Una riga",
        problems=2,
    ),
    "behind-blank-lines.jsonl": file(
        b"\n\n" + lines(G[0]) + b"   \n" + lines(b"{broken", G[1]),
        5,
        "broken_json",
        "broken JSON: ",
        b"{broken",
    ),
    "carriage-returns.jsonl": file(
        lines(G[0], b"{broken", G[1]).replace(b"\n", b"\r\n"), 2, "broken_json", "broken JSON: ", b"{broken"
    ),
    "separators.jsonl": file(
        lines(said("Uno\u2028due\u0085tre."), b"{broken"), 2, "broken_json", "broken JSON: ", b"{broken"
    ),
    "list.jsonl": sft([1, 2], "not_an_object", "a list instead of an object"),
    "text.jsonl": sft("ciao", "not_an_object", "a str instead of an object"),
    "null.jsonl": sft(b"null", "not_an_object", "a NoneType instead of an object"),
    "latin-1.jsonl": sft(
        encode(said("Perché no.")).decode().encode("latin-1"), "not_utf8", "no UTF-8 at byte "
    ),
    "utf-16.jsonl": file(
        lines(*G[:3]).decode().encode("utf-16"), 1, "not_utf8", "no UTF-8 at byte 1", problems=4
    ),
    "mark.jsonl": file(
        b"\xef\xbb\xbf" + lines(*G[:3]), 1, "byte_order_mark", "byte order mark", b"\xef\xbb\xbf"
    ),
    "nul.jsonl": sft(encode(said("Ecco\0.")).replace(b"\\u0000", b"\0"), "nul", "a NUL at byte "),
    "escaped-nul.jsonl": sft(said("Ecco\0."), "nul", "a NUL character"),
    "surrogate.jsonl": sft(
        encode(said("Ecco X.")).replace(b"X", b"\\ud83d"), "surrogate", "half a surrogate"
    ),
    "mojibake.jsonl": sft(
        said("PerchÃ© no, perciÃ²."), "mojibake", "wrongly decoded characters: 'PerchÃ© no"
    ),
    "mojibake-of-quotes.jsonl": sft(said("Lâ€™acqua."), "mojibake", "wrongly decoded characters: "),
    "lost-letters.jsonl": sft(said("Perch\ufffd no."), "mojibake", "wrongly decoded characters: "),
    "empty.jsonl": file(b"", None, "empty", "empty file"),
    "blank.jsonl": file(b"\n \n\n", None, "empty", "empty file"),
}

SHAPES = {
    "document-among-talks.jsonl": sft(D[0], "wrong_kind", "a document row where conversation rows are exp"),
    "talk-among-pairs.jsonl": dpo(
        G[0], "wrong_kind", "a conversation row where preference rows are expected"
    ),
    "pair-among-texts.jsonl": adapt(
        prefer(), "wrong_kind", "a preference row where document rows are expected"
    ),
    "misspelt.jsonl": sft({"mesages": G[2]["messages"]}, "unknown_key", "unknown key 'mesages'"),
    "misspelt-language.jsonl": sft(said("Sì.", langage="it"), "unknown_key", "unknown key 'langage'"),
    "no-answers.jsonl": sft({"domanda": "Uno?", "risposta": "Due."}, "missing_key", "missing key "),
    "no-rejected.jsonl": dpo({"prompt": "Uno?", "chosen": "Due."}, "missing_key", "missing key 'rejected'"),
    "no-prompt.jsonl": dpo(
        {"chosen": "Uno.", "rejected": "Due."}, "missing_key", "no prompt, and answers alone"
    ),
    "no-content.jsonl": sft(
        {"messages": [{"role": "user", "text": "Uno?"}]},
        "missing_key",
        "messages, message 1 doesn't have the keys",
    ),
    "column.jsonl": file(
        lines({"quesito": "Uno?", "risposta": "Due."}, {"domanda": "Tre?", "risposta": "Quattro."}),
        2,
        "missing_key",
        "no column 'quesito', which stands for prompt",
        b"domanda",
        settings={"fields": {"prompt": "quesito", "completion": "risposta"}},
    ),
    "messages-as-text.jsonl": sft({"messages": "ciao"}, "wrong_type", "messages is not a list of messages"),
    "no-messages.jsonl": sft({"messages": []}, "empty", "messages has no message"),
    "message-as-text.jsonl": sft(
        {"messages": ["ciao"]}, "wrong_type", "messages, message 1 is no message (str)"
    ),
    "number-as-answer.jsonl": sft(said(3), "wrong_type", "messages, message 2: answer is not a text (int)"),
    "null-as-answer.jsonl": sft(
        said(None), "wrong_type", "messages, message 2: answer is not a text (NoneType)"
    ),
    "object-as-text.jsonl": adapt({"text": {"it": "a"}}, "wrong_type", "text is not a text (dict)"),
    "number-as-language.jsonl": sft(said("Sì.", language=7), "wrong_type", "language is not a text (int)"),
    "history.jsonl": sft(
        {"instruction": "Uno?", "output": "Due.", "history": ["tre"]},
        "wrong_type",
        "history is not a list of pairs",
    ),
    "role.jsonl": sft(
        talk(("narratore", "a"), ("assistant", "b")), "unknown_role", "messages, message 1: unknown"
    ),
    "tool-role.jsonl": sft(
        {"conversations": [{"from": "tool", "value": "a"}]},
        "unknown_role",
        "conversations, message 1: unknown role",
    ),
    "answer-first.jsonl": sft(
        talk(("assistant", "a"), ("user", "b")), "wrong_order", "messages: wrong order of "
    ),
    "no-answer.jsonl": sft(talk(("user", "a")), "wrong_order", "messages: wrong order of roles: user"),
    "late-system.jsonl": sft(
        talk(("user", "a"), ("system", "b"), ("assistant", "c")),
        "wrong_order",
        "messages: wrong order of roles: user",
    ),
    "two-users.jsonl": sft(
        talk(("user", "a"), ("user", "b"), ("assistant", "c")),
        "wrong_order",
        "messages: wrong order of roles: user, u",
    ),
    "chosen-by-user.jsonl": dpo(
        prefer({"role": "user", "content": "Le tre."}), "wrong_order", "chosen has the role user"
    ),
    "empty-answer.jsonl": sft(said(""), "empty", "messages, message 2: answer is empty"),
    "blank-answer.jsonl": sft(
        said(" \t\n"), "empty", "messages, message 2: answer is nothing but whitespace"
    ),
    "empty-question.jsonl": sft(
        talk(("user", ""), ("assistant", "a")), "empty", "messages, message 1: user message is empty"
    ),
    "empty-output.jsonl": sft({"instruction": "Uno?", "output": ""}, "empty", "output: answer is empty"),
    "empty-chosen.jsonl": dpo(prefer(""), "empty", "chosen: answer is empty"),
    "only-thoughts.jsonl": sft(
        said("<think>\nVediamo.\n</think>\n"), "empty", "messages, message 2: answer is "
    ),
    "other-prompts.jsonl": dpo(
        {"chosen": talk(("user", "a"), ("assistant", "b"))["messages"]}
        | {"rejected": talk(("user", "c"), ("assistant", "d"))["messages"]},
        "different_prompts",
        "chosen and rejected continue different prompts",
    ),
    "image.jsonl": sft(
        said([{"type": "image_url"}]), "unsupported", "messages, message 2: answer has a part of"
    ),
    "tools.jsonl": sft(said("Sì.", tools=[{"name": "meteo"}]), "unsupported", "tools ("),
    "calls.jsonl": sft(
        {"messages": [{"role": "assistant", "content": "a", "tool_calls": [1]}]},
        "unsupported",
        "messages, message 1 has tool_calls, which can't be trained on",
    ),
    "worse-answer.jsonl": sft(
        {"prompt": "Uno?", "completion": "Due.", "label": False},
        "unsupported",
        "label (False) can't be trained on",
    ),
    "empty-instruction.jsonl": dpo(
        {"instruction": "", "chosen": "Uno.", "rejected": "Due."}, "empty", "instruction is empty"
    ),
    "question-as-number.jsonl": dpo(
        {"question": 7, "chosen": "Uno.", "rejected": "Due."}, "wrong_type", "question is no message (int)"
    ),
    "answered-prompt.jsonl": dpo(
        {"conversations": [{"from": "gpt", "value": "Uno."}], "chosen": "Due.", "rejected": "Tre."},
        "wrong_order",
        "prompt: wrong order of roles: assistant",
    ),
    "equal.jsonl": dpo(prefer("Tre.", "Tre. "), "equal_answers", "chosen and rejected are equal"),
}

MEANING = {
    "end-of-turn.jsonl": sft(
        said("Fine.<|im_end|>"), "template_leftover", "a template's mark in the text: '<|im_"
    ),
    "instruction.jsonl": sft(
        talk(("user", "[INST] Uno? [/INST]"), ("assistant", "Due.")),
        "template_leftover",
        "a template's mark in the",
    ),
    "response.jsonl": adapt(
        {"text": "Prima.\n### Response:\nPoi."}, "template_leftover", "a template's mark in the text: '##"
    ),
    "open-thoughts.jsonl": sft(
        said("<think>\nVediamo."), "template_leftover", "messages, message 2: answer: its t"
    ),
    "again.jsonl": sft({**good("sft", 0), "topic": "pane"}, "duplicate", "the same content as "),
    "again-in-another-shape.jsonl": sft(
        {"prompt": "Parlami di il pane numero 0.", "completion": "Volentieri: ecco il pane numero 0."},
        "duplicate",
        "the same content as ",
    ),
    "again-in-another-file.jsonl": file(
        lines(G[3], G[0]),
        2,
        "duplicate",
        "the same content as ",
        b"il pane numero 0",
        beside={"again-in-a-file-before.jsonl": lines(*G[:2])},
    ),
    "english.jsonl": sft(said(ENGLISH), "wrong_language", "the answer is in 'en', asked for is 'it'"),
    "not-as-said.jsonl": sft(
        said(ENGLISH, language="fr"), "wrong_language", "the answer is in 'en', asked for is"
    ),
    "english-text.jsonl": adapt({"text": ENGLISH}, "wrong_language", "the answer is in 'en'"),
    "long.jsonl": sft(said("parola " * 600), "too_long", " tokens, the context has 512"),
    "long-question.jsonl": dpo(
        prefer() | {"prompt": "parola " * 600}, "too_long", " tokens, the context has 512"
    ),
    "invisible.jsonl": sft(said("\u200b\u2060"), "nothing_to_train", "no visible character"),
}

ROWS = {**JSONL, **SHAPES, **MEANING}
