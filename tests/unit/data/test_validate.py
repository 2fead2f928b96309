"""Every kind of broken row gives one message that names its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.core.errors import RowError, TemplateError
from adatta.core.records import Conversation, Document, Message, Origin, Preference
from adatta.data.validate import check_lengths, read_rows

GOOD = {
    "conversation": {
        "messages": [
            {"role": "user", "content": "Che ore sono?"},
            {"role": "assistant", "content": "Le tre."},
        ]
    },
    "preference": {
        "prompt": [{"role": "user", "content": "Che ore sono?"}],
        "chosen": {"role": "assistant", "content": "Le tre."},
        "rejected": {"role": "assistant", "content": "Tre."},
    },
    "document": {"text": "C'era una volta."},
}


def write(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def talk(*turns: tuple[str, str], **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def prefer(**changes: object) -> dict[str, object]:
    return {**GOOD["preference"], **changes}


BROKEN = {
    "broken JSON": ("conversation", '{"messages": [', "broken JSON"),
    "not an object": ("conversation", "[1, 2]", "a list instead of an object"),
    "preference among conversations": (
        "conversation",
        GOOD["preference"],
        "a preference row where conversation",
    ),
    "conversation among preferences": (
        "preference",
        GOOD["conversation"],
        "a conversation row where preference",
    ),
    "conversation among documents": ("document", GOOD["conversation"], "a conversation row where document"),
    "missing key": ("preference", {"prompt": "a", "chosen": "b"}, "missing key 'rejected'"),
    "misspelt key": (
        "conversation",
        {"mesages": GOOD["conversation"]["messages"]},
        "did you mean 'messages'?",
    ),
    "unknown key": ("conversation", {**GOOD["conversation"], "langage": "it"}, "did you mean 'language'?"),
    "empty answer": ("conversation", talk(("user", "a"), ("assistant", "")), "message 2: answer is empty"),
    "whitespace answer": (
        "conversation",
        talk(("user", "a"), ("assistant", " \n")),
        "nothing but whitespace",
    ),
    "empty chosen": ("preference", prefer(chosen=""), "chosen: answer is empty"),
    "unknown role": ("conversation", talk(("tool", "a"), ("assistant", "b")), "unknown role 'tool'"),
    "wrong order": (
        "conversation",
        talk(("assistant", "a"), ("user", "b")),
        "wrong order of roles: assistant, user",
    ),
    "no answer": ("conversation", talk(("user", "a")), "assistant last"),
    "system twice": (
        "conversation",
        talk(("system", "a"), ("system", "b"), ("user", "c"), ("assistant", "d")),
        "wrong order of roles",
    ),
    "prompt ends with an answer": (
        "preference",
        prefer(prompt=GOOD["conversation"]["messages"]),
        "user last",
    ),
    "answer of the user": (
        "preference",
        prefer(chosen={"role": "user", "content": "a"}),
        "chosen has the role user",
    ),
    "equal answers": ("preference", prefer(rejected="Le tre. "), "chosen and rejected are equal"),
    "content not a text": (
        "conversation",
        talk(("user", "a"), ("assistant", 3)),
        "answer is not a text (int)",
    ),
    "language not a text": ("document", {"text": "a", "language": 7}, "language is not a text (int)"),
    "messages not a list": ("conversation", {"messages": "ciao"}, "messages is not a list"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_read_rows_names_each_mistake_once_with_its_line(case: str, tmp_path: Path) -> None:
    kind, row, message = BROKEN[case]
    path = write(tmp_path / "rows.jsonl", GOOD[kind], row, GOOD[kind])
    report = read_rows([path], kind)
    assert [problem.where for problem in report.problems] == [f"{path}:2"]
    assert message in str(report.problems[0])
    assert len(report.rows) == 2


def test_read_rows_names_files_that_give_no_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "a"}\n{"text": "perch\xe9"}\n')
    (tmp_path / "latin.txt").write_bytes(b"uno\ndue\nperch\xe9\n")
    (tmp_path / "table.xlsx").write_text("a,b")
    (tmp_path / "folder").mkdir()
    names = ["empty.jsonl", "empty.txt", "latin.jsonl", "latin.txt", "table.xlsx", "folder", "missing.jsonl"]
    report = read_rows([tmp_path / name for name in names], "document")
    told = [str(problem).partition("\n")[0].replace(f"{tmp_path}/", "") for problem in report.problems]
    assert told == [
        "empty.jsonl: empty file",
        "empty.txt: empty file",
        "latin.jsonl:2: no UTF-8 at byte 16",
        "latin.txt:3: no UTF-8 at byte 14",
        "table.xlsx: unknown kind of file '.xlsx'",
        "folder: no data file in this folder",
        "missing.jsonl: no such file",
    ]


def test_read_rows_tells_a_text_file_among_conversations(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("C'era una volta.")
    report = read_rows([tmp_path], "conversation")
    assert "a document row where conversation rows are expected" in report.problems[0].what


def test_read_rows_builds_typed_rows(tmp_path: Path) -> None:
    short = {
        "prompt": "Che ore sono?",
        "chosen": "Le tre.",
        "rejected": "Tre.",
        "group": "g",
        "unsafe": False,
    }
    path = write(tmp_path / "p.jsonl", GOOD["preference"], "", short)
    full, brief = read_rows([path], "preference").require()
    assert isinstance(full, Preference)
    assert isinstance(brief, Preference)
    assert (full.prompt, full.chosen, full.rejected) == (brief.prompt, brief.chosen, brief.rejected)
    assert full.prompt == (Message(role="user", content="Che ore sono?"),)
    assert full.row_id == brief.row_id
    assert len(full.row_id) == 16
    assert (brief.group, brief.origin) == ("g", Origin(path=str(path), line=3))


def test_read_rows_reads_a_folder_in_order_without_readme(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("secondo\r\n\r\n")
    (tmp_path / "README.md").write_text("what this is")
    (tmp_path / ".hidden.csv").write_text("x")
    write(tmp_path / "a.jsonl", {"text": "primo", "language": "it", "title": "t", "register": "r"})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "d.txt").write_text("terzo")
    rows = read_rows([tmp_path], "document").require()
    assert [row.text for row in rows if isinstance(row, Document)] == ["primo", "secondo", "terzo"]
    assert [row.language for row in rows] == ["it", None, None]


def test_row_id_depends_on_content_only(tmp_path: Path) -> None:
    row = GOOD["conversation"]
    other = talk(("user", "Che ore sono?"), ("assistant", "Le quattro."))
    path = write(tmp_path / "c.jsonl", row, {**row, "topic": "ore"}, other)
    first, second, third = read_rows([path], "conversation").require()
    assert first.row_id == second.row_id != third.row_id


def test_require_tells_twenty_problems_and_counts_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", *["{"] * 33)
    with pytest.raises(RowError) as caught:
        read_rows([path], "conversation").require()
    lines = str(caught.value).splitlines()
    assert sum("broken JSON" in line for line in lines) == 20
    assert lines[-1] == "... and 13 more problems"


def test_check_lengths_names_rows_over_the_context_and_unrenderable_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl", *[talk(("user", "a" * n), ("assistant", "b")) for n in (5, 10, 11, 99)]
    )
    rows = read_rows([path], "conversation").require()
    text = read_rows([write(tmp_path / "d.jsonl", {"text": "x" * 500})], "document").require()

    def measure(row: object) -> int:
        assert isinstance(row, Conversation)
        if len(row.messages[0].content) == 99:
            raise TemplateError("the chat template refuses it")
        return len(row.messages[0].content)

    problems = check_lengths((*rows, *text), measure, 10)
    assert [(problem.where, problem.what) for problem in problems] == [
        (f"{path}:3", "11 tokens, the context has 10"),
        (f"{path}:4", "the chat template refuses it"),
    ]
