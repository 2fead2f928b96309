"""A chat format without tokenizer, one token a UTF-8 byte: for tests that need no model."""

from __future__ import annotations

from adatta.core.records import TokenRow

PREFIX_ID, STOP_ID = 256, 257


class ByteChat:
    """The methods of `Chat` that evaluation uses."""

    stop_ids = (STOP_ID,)
    prefix_id = PREFIX_ID
    end_id = STOP_ID
    template = "<role>content"

    def __init__(self, system_prompt=None):
        self.system_prompt = system_prompt
        self.straddled = set()

    def continuation(self, context, text, *, row_id=""):
        before, after = context.encode(), text.encode()
        weights = (0.0, *[0.0] * len(before), *[1.0] * len(after))
        return TokenRow(ids=(PREFIX_ID, *before, *after), weights=weights, row_id=row_id)

    def document(self, row, context, *, score_end=True):
        ids = (PREFIX_ID, *row.text.encode(), *([STOP_ID] if score_end else []))
        windows = [ids[start : start + context] for start in range(0, len(ids) - 1, context - 1)]
        return tuple(
            TokenRow(ids=window, weights=(0.0, *[1.0] * (len(window) - 1)), row_id=row.row_id, branch=number)
            for number, window in enumerate(windows)
        )

    def preference(self, row):
        context = bytes(self.prompt(row.prompt)).decode()
        return tuple(
            self.continuation(context, answer.content, row_id=row.row_id)
            for answer in (row.chosen, row.rejected)
        )

    def prompt(self, messages):
        return tuple("".join(f"<{message.role}>{message.content}" for message in messages).encode())

    def decode(self, ids):
        return b"".join(bytes([token]) if token < 256 else b"<stop>" for token in ids).decode(
            errors="replace"
        )
