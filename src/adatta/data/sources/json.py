"""Files that are one list of objects, or one object that begins with such a list as `data`, `rows`, `train`.

A row's number is the line on which it begins; of several that begin on one line, those after the first are
told by their number among all rows. Before the list of an object only a `version` may stand; what follows it
isn't looked at.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from adatta.core.rows import BOM, LONGEST_LINE_BYTES, parse_row
from adatta.data.source import Numbered, Opened, Source

_LIST = re.compile(r'\ufeff?\s*(\{\s*(?:"version"\s*:\s*"[^"]*"\s*,\s*)?"(?:data|rows|train)"\s*:\s*)?\[')
_EXPECTED = '[{...}, ...] or {"data": [{...}, ...]}'
_CHUNK_BYTES = 2**16
_LONGEST_TOKEN = 16  # of those that the decoder doesn't call unterminated when they are cut off
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder(parse_int=str)  # says just where a value ends


class _Text:
    """A JSON text, read as far as needed: up to `place`, on `line`; what lies before is forgotten."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = ""
        self.line = 1
        self.place = self._num_bytes = 0
        self._fill()

    def value(self) -> str:
        """Step over a value and return its text."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self.text, self.place)
                break
            except json.JSONDecodeError as error:
                is_cut = error.pos > len(self.text) - _LONGEST_TOKEN or error.msg.startswith("Unterminated")
                if not is_cut or len(self.text) > LONGEST_LINE_BYTES or not self._fill():
                    raise
        value = self.text[self.place : end]
        self.step(end)
        return value

    def take(self, wanted: str) -> str:
        """Step over whitespace and one of some characters, or return nothing if it is none of them."""
        while True:
            self.step(_SPACE.match(self.text, self.place).end())  # type: ignore[union-attr] # always matches
            if self.place < len(self.text) or not self._fill():
                break
        char = self.text[self.place : self.place + 1]
        if not char or char not in wanted:
            return ""
        self.place += 1
        return char

    def step(self, place: int) -> None:
        """Go on to a later place of the text."""
        self.line += self.text.count("\n", self.place, place)
        self.place = place

    def count_bytes(self) -> int:
        """Count the bytes of the file that lie before the place."""
        return self._num_bytes + len(self.text[: self.place].encode("utf-8", "surrogateescape"))

    def _fill(self) -> bool:
        read = self._file.read(max(_CHUNK_BYTES, len(self.text) - self.place))
        more = self._decoder.decode(read, final=not read)
        if more:
            self._num_bytes = self.count_bytes()
            self.text, self.place = self.text[self.place :] + more, 0
        return bool(more)


def _read(opened: Opened) -> Iterator[Numbered]:
    text = _Text(opened.file)
    if text.text.startswith(BOM.decode()):
        opened.report("byte order mark", hint="save as UTF-8 without BOM", reason="byte_order_mark", line=1)
    head = _LIST.match(text.text)
    if head is not None:
        text.step(head.end())
        yield from _rows(text, opened, is_all=head[1] is None)
    elif text.text.strip():
        hint = f"expected {_EXPECTED}; a file of one object a line is called .jsonl"
        opened.report("not a list of rows", hint=hint, reason="broken_json", line=1)


def _rows(text: _Text, opened: Opened, *, is_all: bool) -> Iterator[Numbered]:
    """Yield the rows of a list that was opened, and name what ends it early."""
    number = line = 0
    separator = "" if text.take("]") else ","
    try:
        while separator == ",":
            text.take("")
            number += 1
            begins, line = text.line if text.line > line else number, text.line
            value = text.value().encode("utf-8", "surrogateescape")
            row = parse_row(value, where=f"{opened.path}:{begins}")
            if isinstance(row, dict):
                yield begins, row
            elif row is not None:
                opened.append(row)
            separator = text.take(",]")
            if not separator:
                raise json.JSONDecodeError("Expecting ',' or ']'", text.text, text.place)
        text.take("")
        if is_all and text.place < len(text.text):
            raise json.JSONDecodeError("Expecting nothing behind the list", text.text, text.place)
    except json.JSONDecodeError as error:
        text.step(error.pos)
        what = error.msg.removesuffix(" at")
        opened.report_damage(f"{what} at byte {text.count_bytes() + 1}", line=text.line)
    except RecursionError:
        opened.report_damage(f"too many brackets at byte {text.count_bytes() + 1}", line=text.line)


SOURCE = Source(suffixes=(".json",), read=_read)
