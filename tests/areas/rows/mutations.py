"""Files of every kind and shape, and what can happen to them: drawn, and the same for the same seed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Rows = list[dict[str, Any]]
Draw = random.Random

TOPICS = ("il pane", "la neve", "un treno", "perché no", "l'acqua", "«il vento»", "la città", "il caffè")
FLAT = {
    "sft": ("alpaca", "prompt_completion"),
    "dpo": ("preference", "preference_alpaca", "preference_question"),
    "adapt": ("text",),
}
NESTED = {
    "sft": (*FLAT["sft"], "messages", "sharegpt"),
    "dpo": (*FLAT["dpo"], "preference_implicit", "preference_sharegpt", "preference_messages"),
    "adapt": ("text",),
}


def make_row(shape: str, name: str, draw: Draw) -> dict[str, Any]:
    """Return a good row of a shape; `name` makes it unlike all others."""
    topic, sign = draw.choice(TOPICS), draw.choice(("", "!", ' "sì"', ", ecco", "\n\nE poi?", "; punto"))
    asked, first, second = f"Dimmi di {topic} {name}{sign}", f"Ecco {topic} {name}{sign}", f"No {name}."
    user, better, worse = (
        {"role": role, "content": text}
        for role, text in (("user", asked), ("assistant", first), ("assistant", second))
    )
    row: dict[str, Any] = {
        "messages": {"messages": [user, better]},
        "sharegpt": {"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": first}]},
        "alpaca": {"instruction": asked, "input": name, "output": first},
        "prompt_completion": {"prompt": asked, "completion": first},
        "text": {"text": first},
        "preference": {"prompt": asked, "chosen": first, "rejected": second},
        "preference_messages": {"prompt": [user], "chosen": better, "rejected": [worse]},
        "preference_implicit": {"chosen": [user, better], "rejected": [user, worse]},
        "preference_question": {
            "system": "Sii breve.",
            "question": asked,
            "chosen": first,
            "rejected": second,
        },
        "preference_alpaca": {"instruction": asked, "chosen": first, "rejected": second},
        "preference_sharegpt": {
            "conversations": [{"from": "human", "value": asked}],
            "chosen": {"from": "gpt", "value": first},
            "rejected": {"from": "gpt", "value": second},
        },
    }[shape]
    return row


VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    "",
    " ",
    "\n",
    [],
    {},
    [[]],
    [None],
    ["a", 1],
    {"a": {"b": []}},
    "\0",
    "\ud800",
    "perchÃ©",
    "<|im_end|>",
    "</s>",
    "<think>",
    "<think>a</think>",
    "a" * 5000,
    "\u200b",
    "🙂" * 50,
    [{"type": "text", "text": "a"}],
    [{"type": "image"}],
    {"role": "user"},
    {"role": "tool", "content": "x"},
    [{"role": "user", "content": "a"}],
    "\n\nHuman: a\n\nAssistant: b",
    10**40,
    "user",
    "assistant",
)
KEYS = (
    "",
    "role",
    "from",
    "content",
    "value",
    "text",
    "label",
    "tools",
    "system",
    "history",
    "language",
    "a.b",
)


def change_row(row: dict[str, Any], draw: Draw) -> None:
    """Change a value or key somewhere in a row."""
    holder: Any = row
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = draw.choice(keys)
        if not isinstance(holder[key], dict | list) or draw.random() < 0.3:
            break
        holder = holder[key]
    if not keys:
        return
    what = draw.randrange(5)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[draw.choice(KEYS)] = holder.pop(key)
    elif what == 2 and isinstance(holder, dict):
        holder[draw.choice(KEYS)] = draw.choice(VALUES)
    elif what == 3 and isinstance(holder, list):
        holder.insert(draw.randrange(len(holder) + 1), draw.choice((*VALUES, holder[key])))
    else:
        holder[key] = draw.choice(VALUES)


def dump(row: Any) -> bytes:
    """Write a row as JSON in UTF-8; half a surrogate pair becomes an escape."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")


def write_jsonl(rows: Rows, draw: Draw) -> bytes:
    end = draw.choice((b"\n", b"\n", b"\r\n", b"\n\n"))
    return b"".join(dump(row) + end for row in rows)


def write_json(rows: Rows, draw: Draw) -> bytes:
    value = draw.choice((rows, rows, {"data": rows, "n": 1}))
    text = json.dumps(value, ensure_ascii=False, indent=draw.choice((None, 1, 2)))
    return text.encode("utf-8", "backslashreplace")


def write_table(rows: Rows, draw: Draw, *, delimiter: str = "") -> bytes:
    """Write rows as CSV; half of the tables have quotes around every field."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    writer = csv.writer(
        file,
        delimiter=delimiter or draw.choice(",,;" if len(names) > 1 else ","),
        lineterminator="\n",
        quoting=draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    )
    writer.writerow(names)
    writer.writerows([str(row.get(name, "")).replace("\0", "") for name in names] for row in rows)
    return file.getvalue().encode("utf-8", "replace")


def write_parquet(rows: Rows, draw: Draw) -> bytes:
    """Write rows as Parquet; what fits no column together with the others becomes text."""
    try:
        table = pa.Table.from_pylist(rows)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        table = pa.Table.from_pylist([{key: _plain(value) for key, value in row.items()} for row in rows])
    file = io.BytesIO()
    compression = draw.choice(("none", "snappy", "zstd"))
    try:
        pq.write_table(table, file, row_group_size=draw.choice((3, 5, 100)), compression=compression)
    except pa.ArrowException:  # such as an object without keys
        pq.write_table(pa.table({"text": ["a"]}), file)
    return file.getvalue()


def _plain(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


def zst(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


WRITERS: dict[str, Callable[[Rows, Draw], bytes]] = {
    "jsonl": write_jsonl,
    "json": write_json,
    "csv": write_table,
    "tsv": lambda rows, draw: write_table(rows, draw, delimiter="\t"),
    "parquet": write_parquet,
}

# Mutations of bytes.

PIECES = (
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    "\u2028".encode(),
    "\x85".encode(),
    b'"',
    b'""',
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\r",
    b"\t",
    b"\x1a",
    b"\x1b[31m",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-" * 50,
    b"9" * 5000,
    b"null",
    b"[" * 3000,
    b'{"a":' * 2000,
    b'","',
    b'";"',
    b"\n\n\n",
    b"<|im_start|>",
    b" " * 5000,
    b"\xf0\x9f\x99",
    "é".encode("latin-1"),
    "é".encode("utf-16"),
)


def _span(content: bytes, draw: Draw, longest: int = 200) -> tuple[int, int]:
    start = draw.randrange(len(content) + 1)
    return start, min(len(content), start + draw.randint(1, longest))


def flip(content: bytes, draw: Draw) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20)) if content else 0):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def cut(content: bytes, draw: Draw) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def cut_start(content: bytes, draw: Draw) -> bytes:
    return content[_span(content, draw)[0] :] if draw.random() < 0.3 else content[draw.randint(1, 20) :]


def drop(content: bytes, draw: Draw) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + content[end:]


def double(content: bytes, draw: Draw) -> bytes:
    start, end = _span(content, draw)
    return content[:end] + content[start:end] * draw.choice((1, 1, 5)) + content[end:]


def insert(content: bytes, draw: Draw) -> bytes:
    start, _ = _span(content, draw)
    piece = draw.randbytes(draw.randint(1, 40)) if draw.random() < 0.2 else draw.choice(PIECES)
    return content[:start] + piece + content[start:]


def swap(content: bytes, draw: Draw) -> bytes:
    (first, second), (third, fourth) = sorted((_span(content, draw), _span(content, draw)))
    second = min(second, third)
    middle = content[second:third]
    return content[:first] + content[third:fourth] + middle + content[first:second] + content[fourth:]


def shuffle_lines(content: bytes, draw: Draw) -> bytes:
    lines = content.split(b"\n")
    draw.shuffle(lines)
    return b"\n".join(lines)


def join_lines(content: bytes, draw: Draw) -> bytes:
    return _drop_one(content, b"\n", draw)


def drop_sign(content: bytes, draw: Draw) -> bytes:
    return _drop_one(content, draw.choice((b'"', b"{", b"}", b"[", b"]", b",", b":", b"\t", b";")), draw)


def drop_quotes(content: bytes, draw: Draw) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + content[start:end].replace(b'"', b"") + content[end:]


def re_encode(content: bytes, draw: Draw) -> bytes:
    start, end = _span(content, draw, 2000) if draw.random() < 0.5 else (0, len(content))
    encoding = draw.choice(("latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "utf-32"))
    text = content[start:end].decode("utf-8", "replace")
    return content[:start] + text.encode(encoding, "replace") + content[end:]


def change_ends(content: bytes, draw: Draw) -> bytes:
    return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\r", b"\n\n")))


def open_quote(content: bytes, draw: Draw) -> bytes:
    """Open a quote at the beginning of a field of a table."""
    places = [place + 1 for place, byte in enumerate(content) if byte in b"\n,;\t"]
    place = draw.choice(places or [0])
    return content[:place] + b'"' + content[place:]


def _drop_one(content: bytes, sign: bytes, draw: Draw) -> bytes:
    places = [place for place, byte in enumerate(content) if byte == sign[0]]
    if not places:
        return content
    place = draw.choice(places)
    return content[:place] + content[place + 1 :]


MUTATIONS = (
    flip,
    flip,
    cut,
    cut_start,
    drop,
    double,
    insert,
    insert,
    swap,
    shuffle_lines,
    join_lines,
    drop_sign,
    drop_quotes,
    re_encode,
    change_ends,
)


def mutate(content: bytes, draw: Draw) -> bytes:
    """Change a file in one to three ways."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        content = draw.choice(MUTATIONS)(content, draw)
    return content
