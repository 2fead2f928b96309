"""The same ids here and in llama.cpp for 200 conversations, on tokenizers of every kind that GGUF holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest

from adatta.export.conversations import compare_ids
from adatta.model.engines.llamacpp import LlamaCppEngine
from tests.areas.use.conversations import make
from tests.toys.exports import make_job, write_toy
from tests.toys.tokenizers import BYTE_LEVEL, SENTENCE_PIECE, write_kind

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("kind", [*BYTE_LEVEL, *SENTENCE_PIECE])
def test_two_hundred_conversations_have_the_same_ids(tmp_path: Path, kind: str) -> None:
    folder = write_kind(tmp_path / "model", kind)
    chat = make_job(folder, tmp_path).chat
    conversations = make(chat.added_tokens.values())
    if kind == "qwen2":  # composes accents first, which llama.cpp doesn't do (docs/limits.md)
        conversations = [
            [replace(each, content=normalize("NFC", each.content)) for each in messages]
            for messages in conversations
        ]
    with LlamaCppEngine(write_toy(folder, tmp_path), context=64, threads=1) as engine:
        assert compare_ids(chat, engine, conversations=conversations) == 200
