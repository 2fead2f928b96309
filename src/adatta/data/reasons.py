"""Why a row is refused: one short name for each reason, the same in messages, tables and quarantine files."""

from __future__ import annotations

REASONS = {
    "unreadable": "the file or a part of it can't be read",
    "not_utf8": "bytes that are no UTF-8",
    "byte_order_mark": "the file begins with a byte order mark",
    "nul": "a NUL character",
    "surrogate": "half a surrogate pair",
    "mojibake": "UTF-8 that was once read as another encoding, such as perchÃ©",
    "broken_json": "no JSON, or JSON with a key twice or a number that isn't one",
    "broken_csv": "a record that doesn't fit its header, or a quote that doesn't close",
    "not_an_object": "a row that is no object with keys",
    "wrong_kind": "a row of another kind than the stage reads",
    "unknown_key": "a key that no shape knows",
    "missing_key": "a key that the shape needs",
    "wrong_type": "a value of another type than expected",
    "unknown_role": "a role that isn't system, user or assistant",
    "wrong_order": "messages in an order that no conversation has",
    "empty": "an empty text, or nothing but whitespace",
    "different_prompts": "chosen and rejected don't answer the same prompt",
    "unsupported": "something that nothing trains on, such as calls of tools or images",
    "equal_answers": "chosen and rejected are the same",
    "template_leftover": "tokens of a chat template in the text",
    "duplicate": "the same content as an earlier row",
    "near_duplicate": "nearly the same content as an earlier row",
    "leak": "what a suite of the recipe asks",
    "wrong_language": "an answer in another language than asked for",
    "too_long": "more tokens than the context",
    "nothing_to_train": "no token of the row would be trained",
    "template": "the chat template can't render the row exactly",
    "unexpected": "a defect of adatta: please report it",
}
