"""A source's field map against all of its rows: a name that none of them has is a mistake of the recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from adatta.data.shape import (
    ABSENT,
    GUESS,
    MESSAGE_KEYS,
    METADATA,
    RowKind,
    dig,
    find_unknown_name,
    nearest_key,
)
from adatta.data.source import Numbered
from adatta.data.turns import Mistake

_MOST_KEYS = 1000  # remembered of a source's rows, to name the nearest one


@dataclass(slots=True, kw_only=True)
class _Search:
    """A name of the map that no row had so far: the keys of the first row, and those of all."""

    theirs: str
    first: tuple[str, ...] = ()
    keys: dict[str, None] = field(default_factory=dict)

    def look(self, objects: Sequence[Mapping[str, Any]]) -> bool:
        """Say whether one of the objects has what the name leads to."""
        if any(dig(fields, self.theirs) is not ABSENT for fields in objects):
            return True
        for fields in objects:
            self.first = self.first or tuple(fields)
            places = _places(fields, self.theirs.count("."))
            self.keys.update(dict.fromkeys(islice(places, _MOST_KEYS - len(self.keys))))
        return False


def find_wrong_names(
    names: Mapping[str, str], kind: RowKind, *, records: Iterable[Numbered]
) -> Iterator[Mistake]:
    """Find the names of a field map that are wrong for every row.

    Args:
        names: our fields and what they are called here.
        kind: the kind of row that is expected.
        records: the source's rows; they are read until each name was found once, most often in the first.

    Yields:
        A mistake for each such name; its field is ours.
    """
    lost: dict[str, _Search] = {}
    first: dict[str, str] = {}
    has_rows = False
    for ours, theirs in names.items():
        other = ours if ours in METADATA else first.setdefault(theirs, ours)
        if mistake := find_unknown_name(ours, kind):
            yield mistake
        elif other != ours:
            what = f"{theirs!r} stands for {other} already"
            yield Mistake(what, "each text has a key of its own", "wrong_type", ours)
        else:
            lost[ours] = _Search(theirs=theirs)
    for _, fields in records if lost else ():
        has_rows = True
        messages = list(_messages(fields)) if lost.keys() & set(MESSAGE_KEYS) else []
        lost = {
            ours: search
            for ours, search in lost.items()
            if not search.look(messages if ours in MESSAGE_KEYS else [fields])
        }
        if not lost:
            return
    for ours, search in lost.items():
        thing = "message" if ours in MESSAGE_KEYS else "row"
        if has_rows:
            near = nearest_key(search.theirs, search.keys, likeness=GUESS)
            what = f"no {thing} has {search.theirs!r}{f'; did you mean {near!r}?' if near else ''}"
            hint = f"keys of the first {thing}: {', '.join(search.first)[:200] or 'there is none'}"
            yield Mistake(what, hint, "missing_key", ours)


def _messages(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects with a text of their own inside a row, at any depth: a message may be any of them."""
    for _, part in _parts(value):
        if isinstance(part, Mapping) and any(isinstance(text, str) for text in part.values()):
            yield part
        yield from _messages(part)


def _places(value: Any, num_dots: int) -> Iterator[str]:
    """Yield the dotted paths into a value, with at most so many dots."""
    for key, part in _parts(value):
        yield str(key)
        if num_dots:
            yield from (f"{key}.{rest}" for rest in _places(part, num_dots - 1))


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return what an object or a list holds, by key or place; nothing for any other value."""
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()
