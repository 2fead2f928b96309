"""A source's field map against all of its rows: a name that none of them has is a mistake of the recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from adatta.core.yaml_source import parts
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
    lost: dict[str, str] = {}
    owner: dict[str, str] = {}
    for ours, theirs in names.items():
        other = ours if ours in METADATA else owner.setdefault(theirs, ours)
        if mistake := find_unknown_name(ours, kind):
            yield mistake
        elif other != ours:
            what = f"{theirs!r} stands for {other} already"
            yield Mistake(what, "each text has a key of its own", "wrong_type", ours)
        else:
            lost[ours] = theirs
    seen: dict[str, dict[str, None]] = {ours: {} for ours in lost}
    first: dict[str, tuple[str, ...]] = {}
    for _, fields in records if lost else ():
        messages = list(_messages(fields)) if lost.keys() & set(MESSAGE_KEYS) else []
        for ours, theirs in list(lost.items()):
            objects = messages if ours in MESSAGE_KEYS else [fields]
            if any(dig(part, theirs) is not ABSENT for part in objects):
                del lost[ours]
                continue
            first[ours] = first.get(ours) or next((tuple(part) for part in objects if part), ())
            places = chain.from_iterable(_places(part, theirs.count(".")) for part in objects)
            seen[ours].update(dict.fromkeys(islice(places, _MOST_KEYS - len(seen[ours]))))
        if not lost:
            return
    for ours, theirs in lost.items() if first else ():  # a source without rows accuses no name
        thing = "message" if ours in MESSAGE_KEYS else "row"
        near = nearest_key(theirs, seen[ours], likeness=GUESS)
        what = f"no {thing} has {theirs!r}{f'; did you mean {near!r}?' if near else ''}"
        hint = f"keys of the first {thing}: {', '.join(first[ours])[:200] or 'there is none'}"
        yield Mistake(what, hint, "missing_key", ours)


def _messages(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects with a text of their own inside a row, at any depth: a message may be any of them."""
    for _, part in parts(value):
        if isinstance(part, Mapping) and any(isinstance(text, str) for text in part.values()):
            yield part
        yield from _messages(part)


def _places(value: Any, num_dots: int) -> Iterator[str]:
    """Yield the dotted paths into a value, with at most so many dots."""
    for key, part in parts(value):
        yield str(key)
        if num_dots:
            yield from (f"{key}.{rest}" for rest in _places(part, num_dots - 1))
