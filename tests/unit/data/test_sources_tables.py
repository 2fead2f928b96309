"""CSV, TSV and Parquet: a damage is named with its line or row group and takes little with it."""

from __future__ import annotations

import csv
import gzip
import io
import random
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adatta.data.source import read_file

ROWS = [{"prompt": f"domanda {number}", "completion": f"risposta {number}"} for number in range(100)]


def read(path: Path, *, tolerant: bool = True) -> tuple[list, list]:
    problems: list = []
    rows = list(read_file(path, problems, tolerant=tolerant))
    return rows, [(problem.where.removeprefix(str(path)), problem.what) for problem in problems]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(rows: list[dict[str, str]], **dialect: object) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("a.csv", {}),
        ("a.csv", {"delimiter": ";"}),
        ("a.csv", {"delimiter": "\t", "lineterminator": "\n"}),
        ("a.csv", {"quoting": csv.QUOTE_ALL}),
        ("a.tsv", {"dialect": "excel-tab"}),
    ],
)
def test_csv_gives_what_was_written_with_the_line_where_it_begins(name, dialect, tmp_path):
    rows = [
        {"prompt": 'Disse: "ciao, tu; tu"', "completion": "una\n\nriga\ne un'altra"},
        {"prompt": "", "completion": "è\ttab"},
        {"prompt": "lunga\n" * 300, "completion": "1,5"},
        {"prompt": "3", "completion": " spazi "},
    ]
    found, problems = read(write(tmp_path / name, table(rows, **dialect)))
    assert [row for _, row in found] == rows
    assert [line for line, _ in found] == [2, 6, 7, 308]
    assert problems == []


def test_csv_of_one_column_may_hold_long_texts(tmp_path):
    rows = [{"text": "verso\n" * 50}, {"text": "altro"}]
    assert [row for _, row in read(write(tmp_path / "a.csv", table(rows)))[0]] == rows


@pytest.mark.parametrize(
    ("record", "line", "what"),
    [
        ("uno", 3, "1 fields, the header has 2"),
        ("uno,due,tre", 3, "3 fields, the header has 2"),
        ('"uno"due,tre', 3, "',' expected after '\"'"),
        ('uno,"due', 3, "a quote opens here and doesn't close"),
        ('"riga\nriga",due,"tre\nquattro', 4, "a quote opens here and doesn't close"),
        ("uno,perch\udce9", 3, "bytes that are no UTF-8"),
        ("uno,d\0e", 3, "a NUL character"),
    ],
)
def test_csv_names_a_broken_record_with_its_line_and_uses_the_others(record, line, what, tmp_path):
    lines = [f"domanda {number},risposta {number}" for number in range(60)]
    text = "\n".join(["prompt,completion", lines[0], record, *lines[1:], ""])
    rows, problems = read(write(tmp_path / "a.csv", text.encode("utf-8", "surrogateescape")))
    assert (f":{line}", what) in problems
    answers = {row["completion"] for _, row in rows}
    assert answers >= {f"risposta {number}" for number in range(60)}
    assert len(problems) <= 2  # a quoted newline makes two records of a broken one


def test_csv_resumes_after_a_quote_that_another_one_closes_much_later(tmp_path):
    lines = [f"domanda {number},risposta {number}" for number in range(100)]
    lines[10] = 'domanda 10,"risposta 10'
    lines[90] = 'domanda 90,risposta 90"'
    rows, problems = read(write(tmp_path / "a.csv", "\n".join(["prompt,completion", *lines, ""])))
    assert problems == [(":12", "a quote opens here and doesn't close")]
    assert len(rows) == 99


def test_csv_names_each_of_many_damaged_lines_in_a_row(tmp_path):
    lines = ["prompt,completion", 'uno,"due', *['tre","quattro'] * 40, *["cinque,sei"] * 30, ""]
    rows, problems = read(write(tmp_path / "a.csv", "\n".join(lines)))
    assert [line for line, _ in rows] == list(range(43, 73))
    told = [int(line.removeprefix(":")) for line, _ in problems]
    assert told[:20] == list(range(2, 22))
    assert told[-1] == 42


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_csv_damage_anywhere_takes_at_most_the_next_twenty_lines(quoting, tmp_path):
    draw = random.Random(3)
    rows = [
        {"prompt": f"domanda {n}", "completion": f'disse "{n}", poi' + "\naltro" * (n % 5)} for n in range(80)
    ]
    begins, text = [], "prompt,completion\n"
    for row in rows:
        begins.append(text.count("\n") + 1)
        text += table([row], quoting=quoting, lineterminator="\n").partition("\n")[2]
    for _ in range(60):
        place = draw.randrange(text.index("\n") + 1, len(text))
        new = draw.choice(['"', ",", "\n", "", '",'])
        path = write(tmp_path / "a.csv", text[:place] + new + text[place + draw.randrange(2) :])
        used = {row["prompt"] for _, row in read(path)[0]}
        damaged = max(n for n in range(80) if begins[n] <= text.count("\n", 0, place) + 1)
        end = begins[damaged + 1] - 1 if damaged < 79 else 10**6
        safe = {f"domanda {n}" for n in range(80) if n < damaged or begins[n] > end + 20}
        assert used >= safe


@pytest.mark.parametrize("line", ['x","\n', 'x,"\n', '"q\nx,y\n', '"""\n', '"a,\n'])
def test_csv_of_nothing_but_damage_takes_time_in_step_with_its_length(line, tmp_path):
    begin = time.perf_counter()
    read(write(tmp_path / "a.csv", "a,b\n" + line * 5_000))
    assert time.perf_counter() - begin < 5  # quadratic: a minute


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("a,a", (":1", "the header has a name twice")),
        ('a,"b', (":1", "a quote opens here and doesn't close")),
    ],
)
def test_csv_without_a_sound_header_is_refused_whole(header, problem, tmp_path):
    assert read(write(tmp_path / "a.csv", f"{header}\n1,2\n")) == ([], [problem])


def test_csv_with_a_byte_order_mark_says_so_and_knows_its_first_name(tmp_path):
    rows, problems = read(write(tmp_path / "a.csv", b"\xef\xbb\xbf" + table(ROWS).encode()))
    assert [row for _, row in rows] == ROWS
    assert problems == [(":1", "byte order mark")]


def parquet(rows: list[dict]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=20)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_parquet_gives_rows_without_nulls(name, tmp_path):
    rows = [{"messages": [{"role": "user", "content": "a"}], "id": "x"}, {"messages": [{"role": "user"}]}]
    content = parquet(rows)
    path = write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    assert read(path) == ([(1, rows[0]), (2, rows[1])], [])


def test_parquet_with_a_damaged_row_group_is_read_up_to_it_with_the_count_of_the_rest(tmp_path):
    content = bytearray(parquet(ROWS))
    begin = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(2).column(0).data_page_offset
    content[begin : begin + 40] = b"\xff" * 40
    path = write(tmp_path / "a.parquet", bytes(content))
    problems: list = []
    assert [row for _, row in read_file(path, problems, tolerant=True)] == ROWS[:40]
    (problem,) = problems
    assert problem.where == f"{path}:41"
    assert problem.what.startswith("damaged: row group 3 of 5: ")
    assert problem.what.endswith("; 60 rows are missing")
    assert problem.hint == "the rows before it are used"
    assert problem.reason == "unreadable"
    list(read_file(path, problems))
    assert problems[1].hint.startswith("the whole file is refused: ")


def test_parquet_that_is_cut_off_or_none_is_refused_whole(tmp_path):
    for content in (parquet(ROWS)[:-20], b"PAR1", b"prompt,completion\n"):
        rows, problems = read(write(tmp_path / "a.parquet", content))
        assert rows == []
        ((where, what),) = problems
        assert where == ":1"
        assert what.startswith("damaged: the table at its end: ")


def test_parquet_with_text_that_is_no_utf8_names_the_row_group(tmp_path):
    column = pa.array([b"a", b"perch\xe9"]).view(pa.string())
    file = io.BytesIO()
    pq.write_table(pa.table({"text": column}), file)
    rows, problems = read(write(tmp_path / "a.parquet", file.getvalue()))
    assert rows == []
    assert problems[0][1].startswith("damaged: row group 1 of 1: 'utf-8' codec can't decode")


def test_parquet_with_a_nul_in_a_text_costs_that_row(tmp_path):
    path = write(tmp_path / "a.parquet", parquet([{"text": "a"}, {"text": "b\0"}, {"text": "c"}]))
    assert read(path) == ([(1, {"text": "a"}), (3, {"text": "c"})], [(":2", "a NUL character")])


def test_advice_for_a_name_that_stands_twice_is_another_name(tmp_path):
    problems: list = []
    list(read_file(write(tmp_path / "a.csv", "a,a\n1,2\n"), problems))
    assert [problem.hint for problem in problems] == ["give each column a name of its own"]
