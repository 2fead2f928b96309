"""Every kind of broken row gives one message that names its place."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from adatta.core.errors import Problem, RowError, TemplateError
from adatta.core.records import Document, Message, Origin, Preference, Row
from adatta.data.contents import list_contents
from adatta.data.shape import RowKind
from adatta.data.source import read_file
from adatta.data.validate import Input, Meaning, Refused, Size, Validation
from tests.toys.reading import REASONS, read_rows

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
    assert "... and 13 more problems" in lines
    assert lines[-1].split() == ["33", "broken_json"]


ITALIAN = "Certo, volentieri: questa è la mia risposta, in italiano e abbastanza lunga per essere giudicata."
ENGLISH = "Of course, gladly: this is my answer, it is written in English and long enough to be judged."


class Run:
    """A validation with stand-ins for what other packages do, and what came of it."""

    def __init__(self, kind: RowKind = "conversation", **changes: object) -> None:
        self.refused: list[Refused] = []
        self.warnings: list[Problem] = []
        self.measured: list[Row] = []
        defaults = {
            "language": "it",
            "context": 10_000,
            "template_tokens": (10, 5),
            "measure": self.measure,
            "identify": lambda text: ("en" if " the " in text or " is " in text else "it", 0.9),
            "find_near": lambda *texts: None,
        }
        meaning = Meaning(**{**defaults, **changes})
        self.validation = Validation(
            kind, refuse=self.refused.append, warn=self.warnings.append, meaning=meaning
        )

    def measure(self, row: Row) -> Size:
        self.measured.append(row)
        num_chars = sum(len(content.text) for content in list_contents(row))
        return Size(num_chars // 2, num_chars // 4)

    def rows(self, path: Path) -> list[Row]:
        given = Input(name=str(path), records=read_file(path, self.validation))
        return list(self.validation.rows(given))

    def reasons(self) -> dict[int, str]:
        """The first reason of each refused row, by its line."""
        return {
            int(refused.problems[0].where.rpartition(":")[2]): refused.problems[0].reason
            for refused in self.refused
        }


def said(answer: str, **more: object) -> dict[str, object]:
    return talk(("user", "Dimmi qualcosa di interessante sul mare."), ("assistant", answer), **more)


def test_each_row_is_used_or_refused_with_its_reason(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl",
        said("uno"),
        "{broken",
        said("uno", topic="other"),
        said(ENGLISH),
        said("x" * 30_000),
        said("\u200b\u2060"),
        said("perchÃ©"),
        said("fine<|im_end|>"),
        said(""),
        said("due"),
        said("And " + ENGLISH, language="en"),
    )
    run = Run()
    rows = run.rows(path)
    assert [row.origin.line for row in rows] == [1, 10, 11]
    assert run.reasons() == {
        2: "broken_json",
        3: "duplicate",
        4: "wrong_language",
        5: "too_long",
        6: "nothing_to_train",
        7: "mojibake",
        8: "template_leftover",
        9: "empty",
    }
    told = {refused.problems[0].reason: refused for refused in run.refused}
    assert told["duplicate"].problems[0].what == f"the same content as {path}:1"
    assert told["mojibake"].problems[0].field == "answer 1"
    assert told["broken_json"].fields == "{broken"
    assert told["empty"].fields == said("")
    assert told["too_long"].row is not None
    figures = run.validation.figures()
    assert (figures["structure"]["rows"], figures["structure"]["kept"]) == (11, 6)
    assert (figures["meaning"]["rows"], figures["meaning"]["kept"]) == (6, 3)
    assert figures["both"]["rows"] == 11
    assert figures["structure"]["time_s"] + figures["meaning"]["time_s"] <= figures["both"]["time_s"] + 0.002


def test_every_reason_has_its_meaning(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", *[row for kind, row, _ in BROKEN.values() if kind == "conversation"])
    run = Run()
    assert run.rows(path) == []
    assert set(run.reasons().values()) <= set(REASONS)


def test_only_rows_that_could_exceed_the_context_are_measured(tmp_path: Path) -> None:
    question = len("Dimmi qualcosa di interessante sul mare.")
    fits = 200 - 10 - 2 * 5 - question  # one byte more could be one token more
    path = write(tmp_path / "c.jsonl", said("a" * fits), said("b" * (fits + 1)), said("è" * (fits // 2 + 1)))
    run = Run(context=200)
    assert len(run.rows(path)) == 3
    assert [row.origin.line for row in run.measured] == [2, 3]


def test_documents_are_measured_as_other_rows_are(tmp_path: Path) -> None:
    run = Run("document", context=300, template_tokens=(2, 0))
    path = write(tmp_path / "d.jsonl", *({"text": "x" * length} for length in (298, 299, 602)))
    assert [row.origin.line for row in run.rows(path)] == [1, 2]
    assert [row.origin.line for row in run.measured] == [2, 3]
    (refused,) = run.refused
    assert refused.problems[0].where == f"{path}:3"
    assert refused.problems[0].what == "301 tokens, the context has 300"


@pytest.mark.parametrize("check", ["find_near", "identify", "measure"])
def test_defect_in_a_check_refuses_the_row_as_unexpected(check: str, tmp_path: Path) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("no such thing")

    run = Run(context=8, **{check: fail})
    assert run.rows(write(tmp_path / "c.jsonl", said(ITALIAN))) == []
    (problem,) = run.refused[0].problems
    assert problem.reason == "unexpected"
    assert "KeyError: 'no such thing'" in problem.what


def test_defect_in_a_source_is_told_and_ends_it() -> None:
    def records():
        yield 1, said("uno")
        raise TypeError("a defect")

    run = Run()
    rows = list(run.validation.rows(Input(name="a.jsonl", records=records())))
    assert len(rows) == 1
    assert run.refused[0].problems[0].reason == "unexpected"


@pytest.mark.parametrize("error", [OSError("disk full"), MemoryError(), KeyboardInterrupt()])
def test_what_is_no_defect_of_a_check_goes_through(error: BaseException, tmp_path: Path) -> None:
    def fail(*arguments: object) -> None:
        raise error

    with pytest.raises(type(error)):
        Run(find_near=fail).rows(write(tmp_path / "c.jsonl", said("uno")))


def test_row_that_cannot_be_rendered_is_refused(tmp_path: Path) -> None:
    def measure(row: Row) -> Size:
        raise TemplateError("the chat template refuses it")

    run = Run(context=8, measure=measure)
    assert run.rows(write(tmp_path / "c.jsonl", said("uno"))) == []
    assert run.refused[0].problems[0].what == "the chat template refuses it"
    assert run.reasons() == {1: "template"}


def test_near_repetition_is_a_warning_that_names_the_earlier_row(tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []

    def find_near(*texts: str) -> int | None:
        seen.append(texts)
        return 1 if len(seen) == 3 else None

    first = write(tmp_path / "a.jsonl", said("uno"), "{broken", said("due"))
    second = write(tmp_path / "b.jsonl", said("due, quasi"))
    run = Run(find_near=find_near)
    assert len(run.rows(first) + run.rows(second)) == 3
    (warning,) = run.warnings
    assert (warning.where, warning.what) == (f"{second}:1", f"nearly the same content as {first}:3")
    assert seen[0] == ("Dimmi qualcosa di interessante sul mare.", "uno")


def test_repetition_is_found_across_files_and_sources_keep_their_counts(tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{name}.jsonl", said("uno")) for name in "ab")
    run = Run()
    given = [Input(name=str(path), records=read_file(path, run.validation)) for path in (first, second)]
    kept = [len(list(run.validation.rows(one))) for one in given]
    assert kept == [1, 0]
    assert [one.num_rows for one in given] == [1, 1]
    assert [dict(one.shapes) for one in given] == [{"messages": 1}] * 2


def test_validation_keeps_no_row(tmp_path: Path) -> None:
    run = Run()

    def records(num_rows: int):
        for number in range(num_rows):
            yield number + 1, said(f"{number} of {num_rows} " + "parola " * 100)

    def peak(num_rows: int) -> int:
        tracemalloc.reset_peak()
        for _ in run.validation.rows(Input(name="a.jsonl", records=records(num_rows))):
            pass
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    few, many = peak(300), peak(3000)
    tracemalloc.stop()
    assert many - few < 3000 * 100  # the rows have 700 bytes each
