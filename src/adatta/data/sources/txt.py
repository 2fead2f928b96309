"""Files that are one text each."""

from __future__ import annotations

from collections.abc import Iterator

from adatta.core.rows import BOM
from adatta.data.source import Numbered, Opened, Source


def _read(opened: Opened) -> Iterator[Numbered]:
    """Yield the whole file as one row, without the newlines at its end; nothing for an empty file."""
    content = opened.file.read()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        what, line = f"no UTF-8 at byte {error.start + 1}", content[: error.start].count(b"\n") + 1
        opened.report(what, hint="save the file as UTF-8", reason="not_utf8", line=line)
        return
    if content.startswith(BOM):
        opened.report("byte order mark", hint="save as UTF-8 without BOM", reason="byte_order_mark", line=1)
    elif "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        opened.report("a NUL character", hint="take it out of the text", reason="nul", line=line)
    elif text.strip():
        yield 1, {"text": text.rstrip("\r\n")}


SOURCE = Source(suffixes=(".txt", ".md"), read=_read)
