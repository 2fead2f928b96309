"""Rows and items are named by their content: the first 16 hex digits of the SHA-256 of its canonical JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from adatta.core.runtime import bundled_dir
from adatta.evals.suite import load_suite
from tests.toys.reading import read_rows

USER = {"role": "user", "content": "Che ore sono?"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("È l'una.", "It is one."))
ROWS = {
    "conversation": ({"messages": [USER, GOOD]}, {"language": "it", "topic": "ore"}),
    "preference": ({"prompt": [USER], "chosen": GOOD, "rejected": BAD}, {"fault": "english", "group": "g1"}),
    "document": ({"text": "È l'una."}, {"title": "Ore"}),
}


def name_of(content: dict[str, object]) -> str:
    """Compute the id as the rule says, without our code."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


@pytest.mark.parametrize("kind", ROWS)
def test_row_is_named_by_its_content_alone(kind: str, tmp_path: Path) -> None:
    content, metadata = ROWS[kind]
    path = tmp_path / "rows.jsonl"
    lines = (content, {**metadata, **content}, dict(reversed(content.items())))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    rows = read_rows([path], kind).require()
    assert {row.row_id for row in rows} == {name_of(content)}


def test_item_is_named_by_its_fields() -> None:
    items = load_suite("offline").items()["questions_it"]
    path = bundled_dir() / "data" / "evaluation" / "test" / "questions_it.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [item.item_id for item in items] == [name_of(json.loads(line)) for line in lines]
    assert len({item.item_id for item in items}) == len(lines)
