"""Malformed files of every kind but JSONL, and those that are packed."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.areas.rows.malformed import ENGLISH, D, G, Malformed, file, lines, pretty, said

TABLE = b"".join(
    b'"%s","%s"\n' % pair for pair in [(b"prompt", b"completion"), (b"Uno?", b"Certo."), (b"Due?", b"No.")]
)


def parquet(rows: list[dict[str, Any]], *, group: int = 1000) -> bytes:
    """Write rows as Parquet."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=group, compression="none")
    return file.getvalue()


def zst(content: bytes) -> bytes:
    """Pack with Zstandard."""
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


def damage(content: bytes, at: int, by: bytes = b"\xff" * 8) -> bytes:
    """Overwrite some bytes; a negative place counts from the end."""
    at = at if at >= 0 else len(content) + at
    return content[:at] + by + content[at + len(by) :]


def text(content: bytes, line: int | None, reason: str, what: str, mark: bytes = b"") -> Malformed:
    """Describe a file of documents."""
    return file(content, line, reason, what, mark, kind="adapt")


FILES = {
    "pretty.json": file(
        pretty(G[0], G[1], said(""), G[2]),
        4,
        "empty",
        "messages, message 2: answer is empty",
        b'"content": ""',
    ),
    "indented.json": file(
        json.dumps([G[0], G[1], {"mesages": 1}], indent=2).encode(),
        26,
        "unknown_key",
        "unknown key 'mesages'",
        b"  {",
    ),
    "one-line.json": file(
        json.dumps([G[0], G[1], {"mesages": 1}]).encode(), 3, "unknown_key", "unknown key 'mes"
    ),
    "one-object-a-line.json": file(lines(*G[:3]), 1, "broken_json", "not a list of rows", b"{"),
    "object.json": file(b'{"version": 1, "data": []}', 1, "broken_json", "not a list of rows", b"{"),
    "empty-list.json": file(b"[]\n", None, "empty", "empty file"),
    "cut.json": file(
        pretty(*G[:3])[:-30], 4, "unreadable", "damaged: Unterminated string starting at byte ", b"un treno"
    ),
    "comma.json": file(
        pretty(*G[:3])[:-3] + b",\n]\n", 5, "unreadable", "damaged: Expecting value at byte ", b"]"
    ),
    "no-comma.json": file(
        pretty(*G[:3]).replace(b"},\n", b"}\n", 1), 3, "unreadable", "damaged: Expecting ',' or", b"la neve"
    ),
    "number-in-list.json": file(
        pretty(G[0], 7, G[1]), 3, "not_an_object", "a int instead of an object", b"7"
    ),
    "latin-1.json": file(
        pretty(G[0], said("Perché no.")).decode().encode("latin-1"),
        3,
        "not_utf8",
        "no UTF-8 at byte ",
        b"Perch\xe9",
    ),
    "mark.json": file(b"\xef\xbb\xbf" + pretty(*G[:2]), 1, "byte_order_mark", "byte order mark", b"\xef"),
    "behind.json": file(
        pretty(*G[:2]) + b"[]", 5, "unreadable", "damaged: Expecting nothing behind the list", b"[]"
    ),
    "open-quote.csv": file(
        TABLE + b'"Tre?,No.\n' + b'"Quattro?","S\xc3\xac."\n"Cinque?","Mai."\n',
        4,
        "broken_csv",
        "a quote opens here and doesn't close",
        b'"Tre?,',
    ),
    "open-quote-at-the-end.csv": file(
        TABLE + b'"Tre?","Forse.\n', 4, "broken_csv", "a quote opens here and doesn't close", b'"Forse.'
    ),
    "few.csv": file(TABLE + b"Tre?\n", 4, "broken_csv", "1 fields, the header has 2", b"Tre?"),
    "many.csv": file(
        TABLE + b"Tre, quattro?,No.\n", 4, "broken_csv", "3 fields, the header has 2", b"Tre, quattro"
    ),
    "behind-lines-in-quotes.csv": file(
        TABLE + b'"Tre\ne\nquattro?",No.\nCinque?\n', 7, "broken_csv", "1 fields, the header", b"Cinque?"
    ),
    "header.csv": file(b"text,text\na,b\n", 1, "broken_csv", "the header has a name twice", b"text,text"),
    "columns.csv": file(b"question,answer\nUno?,Due.\n", 2, "missing_key", "missing key ", b"Uno?"),
    "empty-cell.csv": file(TABLE + b"Tre?,\n", 4, "empty", "completion: answer is empty", b"Tre?,"),
    "latin-1.csv": file(TABLE + b"Perch\xe9?,No.\n", 4, "not_utf8", "bytes that are no UTF-8", b"Perch\xe9"),
    "mark.csv": file(b"\xef\xbb\xbf" + TABLE, 1, "byte_order_mark", "byte order mark", b"\xef\xbb\xbf"),
    "nul.tsv": file(
        b"prompt\tcompletion\nUno?\tDue.\nTre?\tQuat\0tro.\n", 3, "nul", "a NUL character", b"Quat\0tro"
    ),
    "quote.tsv": file(
        b'prompt\tcompletion\nUno?\tDue.\n"Tre?\tNo.\nQuattro?\tNo.\n',
        3,
        "broken_csv",
        "a quote opens here and doesn't close",
        b'"Tre?',
    ),
    "latin-1.txt": text(b"uno\ndue\nperch\xe9\n", 3, "not_utf8", "no UTF-8 at byte 14", b"perch\xe9"),
    "nul.txt": text(b"uno\n\ndu\0e\n", 3, "nul", "a NUL character", b"du\0e"),
    "mark.txt": text(b"\xef\xbb\xbfuno\n", 1, "byte_order_mark", "byte order mark", b"uno"),
    "empty.txt": text(b"\n \n", None, "empty", "empty file"),
    "english.txt": text(ENGLISH.encode(), 1, "wrong_language", "the answer is in 'en'", b"river"),
    "mark.md": text(
        b"# Titolo\n\n<|im_start|>user\n", 1, "template_leftover", "a template's mark in the text", b"#"
    ),
    "template.txt": file(b"C'era una volta.", 1, "wrong_kind", "a document row where conv", b"volta"),
    "row.parquet": file(parquet([*G[:2], said("")]), 3, "empty", "messages, message 2: answer is empty"),
    "nul.parquet": text(parquet([D[0], {"text": "du\0e"}]), 2, "nul", "a NUL character"),
    "group.parquet": text(
        damage(parquet(D, group=10), 700, b"\xff" * 60), 11, "unreadable", "damaged: row group 2 of 4: "
    ),
    "cut.parquet": text(parquet(D)[:-20], 1, "unreadable", "damaged: the table at its end: "),
    "no.parquet": text(lines(*D[:3]), 1, "unreadable", "damaged: the table at its end: "),
    "cut.jsonl.gz": file(gzip.compress(lines(*G), mtime=0)[:-40], 6, "unreadable", "damaged: "),
    "changed.jsonl.gz": text(
        damage(gzip.compress(lines(*D), mtime=0), -6), 41, "unreadable", "damaged: CRC check failed"
    ),
    "no.jsonl.gz": file(
        lines(*G), 1, "unreadable", "damaged: Not a gzipped file (b'{\"'), at or before byte "
    ),
    "inside.jsonl.gz": file(gzip.compress(lines(G[0], G[1], b"{broken")), 3, "broken_json", "broken JSON: "),
    "cut.jsonl.zst": file(zst(lines(*G))[:-30], 1, "unreadable", "damaged: "),
    "no.jsonl.zst": file(lines(*G), 1, "unreadable", "damaged: "),
    "inside.csv.zst": file(zst(TABLE + b"Tre?\n"), 4, "broken_csv", "1 fields, the header has 2"),
    "table.xlsx": file(b"PK", None, "unreadable", "unknown kind of file '.xlsx'"),
    "rows.jsonl.bz2": file(b"BZh", None, "unreadable", "unknown kind of file '.bz2'"),
}
