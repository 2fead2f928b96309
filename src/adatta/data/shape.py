"""What a shape is, and how a row's shape is told by its keys; the shapes themselves are in `data/shapes`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from statistics import fmean
from typing import Any, Literal, NamedTuple

from adatta.core.fingerprint import content_id
from adatta.core.records import Conversation, Document, Origin, Preference, Row
from adatta.core.settings import Many, Settings
from adatta.core.yaml_source import packaged_names, packaged_yaml
from adatta.data.pair import read_instruction, read_pair
from adatta.data.turns import Mistake, Reader, Written, build_messages

RowKind = Literal["conversation", "preference", "document"]
Way = Literal["text", "messages", "instruction", "user", "assistant", "answer"]
METADATA = ("fault", "group", "id", "language", "register", "source", "title", "topic", "unsafe")
_KEPT = ("language", "group")
MESSAGE_KEYS = ("role", "content")
ABSENT = object()
_NO_NAMES: Mapping[str, str] = {}
_NO_TOOLS: tuple[Any, ...] = (None, "", "[]", [])
_TYPO, GUESS = 0.84, 0.7  # likeness of keys: surely a slip (langage, prompts), perhaps meant


class Shape(Settings):
    """A layout of rows that a file name in `data/shapes` stands for.

    `keys` must all be there, `optional` ones are read too. A row of the shape stands at the top of its file.
    A key is read in one of these ways:

    - `text`: a text.
    - `messages`: a list of messages.
    - `user`, `assistant`: theirs, where it is a text; it may be a message or a list of messages, too.
    - `instruction`: a text, as Alpaca writes it: with `history` before it and `input` below it.
    - `answer`: as `assistant`; one of the two answers that are compared.
    """

    kind: RowKind
    keys: Mapping[str, Way]
    optional: Many[str] = ("system", "tools")


class Shaped(NamedTuple):
    """What a row turned out to be: its shape (empty where none fits), the row or what is wrong with it.

    `ignored` are its keys that nothing reads.
    """

    shape: str
    row: Row | None
    mistakes: tuple[Mistake, ...]
    ignored: tuple[str, ...] = ()


@cache
def load_shapes() -> Mapping[str, Shape]:
    """Load the shapes: name -> shape; of two that fit a row, the earlier one is it."""
    names = packaged_names("adatta.data.shapes")
    shapes = {name: Shape(**packaged_yaml("adatta.data.shapes", f"{name}.yaml")) for name in names}
    return dict(sorted(shapes.items(), key=lambda item: -len(item[1].keys)))


def shape_row(
    fields: Mapping[str, Any], kind: RowKind, *, origin: Origin, names: Mapping[str, str] = _NO_NAMES
) -> Shaped:
    """Tell a row's shape and build the row.

    Args:
        fields: the row as it was read.
        kind: the kind of row that is expected.
        origin: where it stands.
        names: our fields, all of which rows of the kind may have, and what they are called here; dots lead
            into objects and lists.
    """
    if names:
        fields, lost = _rename(fields, names)
        if lost:
            return Shaped("", None, tuple(lost))
    keys = tuple(key for key, value in fields.items() if value is not None)
    plan = _plan(keys, kind)
    if not plan.shape:
        return plan
    reader = Reader(names=names, mistakes=list(plan.mistakes), ignored=set(plan.ignored))
    for key in _KEPT:
        if key in keys and not isinstance(fields[key], str):
            reader.refuse_type(fields[key], key, name=key)
    is_lost = {"tools": fields.get("tools") not in _NO_TOOLS, "label": fields.get("label") is False}
    for key in filter(is_lost.get, is_lost):
        what = f"{key} ({str(fields[key])[:40]}) can't be trained on"
        reader.refuse(what, "take the row out", reason="unsupported", place=key)
    content = _read(load_shapes()[plan.shape], fields, reader)
    row = None if reader.mistakes else _build(content, fields, origin)
    return Shaped(plan.shape, row, tuple(reader.mistakes), tuple(sorted(reader.ignored)))


@lru_cache(maxsize=4096)
def _plan(keys: tuple[str, ...], kind: RowKind) -> Shaped:
    """Tell from the keys alone the shape, slips in keys that would be read, and what is ignored."""
    name = next((name for name, shape in _shapes_of(kind).items() if set(shape.keys) <= set(keys)), "")
    if not name:
        return Shaped("", None, (_explain(keys, kind),))
    shape = load_shapes()[name]
    absent = [key for key in (*shape.optional, *_KEPT) if key not in keys]
    rest = [key for key in keys if key not in (*shape.keys, *shape.optional, *METADATA)]
    slips = {key: near for key in rest if (near := nearest_key(key, absent, likeness=_TYPO))}
    mistakes = tuple(_slip(key, near) for key, near in slips.items())
    return Shaped(name, None, mistakes, tuple(key for key in rest if key not in slips))


def _read(shape: Shape, fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """Read a row's content in our form, which its id is made of; to be used if nothing is wrong."""
    if shape.kind == "document":
        return {key: reader.text(fields[key], key) for key in shape.keys}
    messages: list[Written] = []
    for key, way in shape.keys.items():
        if way == "messages":
            messages += reader.messages(fields[key], key)
        elif way == "instruction":
            messages += read_instruction(fields, reader)
        elif way in ("user", "assistant"):
            messages += reader.messages(fields[key], key, role=way)
    if shape.kind == "preference":
        has_prompt = set(shape.keys.values()) != {"answer"}
        return read_pair(messages if has_prompt else None, fields, reader=reader)
    messages = reader.with_system(messages, fields)
    if not reader.mistakes:
        reader.check_order(messages, next(iter(shape.keys)), last="assistant")
    return {"messages": messages}


def _shapes_of(kind: RowKind) -> dict[str, Shape]:
    return {name: shape for name, shape in load_shapes().items() if shape.kind == kind}


def _explain(keys: Sequence[str], kind: RowKind) -> Mistake:
    """Say why keys fit no shape of a kind; the nearest shape comes first."""

    def likeness(shape: Shape) -> float:
        return fmean((key in keys) + bool(nearest_key(key, keys, likeness=GUESS)) for key in shape.keys)

    shapes = sorted(_shapes_of(kind).values(), key=likeness, reverse=True)
    missing = [key for key in shapes[0].keys if key not in keys]
    have = ", or ".join(" + ".join(shape.keys) for shape in shapes)
    other = next((shape.kind for shape in load_shapes().values() if set(shape.keys) <= set(keys)), None)
    if other:
        what = f"a {other} row where {kind} rows are expected"
        return Mistake(what, f"{kind} rows have the keys {have}", "wrong_kind", missing[0])
    slips = [(near, key) for key in missing if (near := nearest_key(key, keys, likeness=GUESS))]
    if slips:
        return _slip(*slips[0])
    hint = f"{kind} rows have {have}; here: {', '.join(keys)[:200]}; other names go into the recipe's fields"
    return Mistake(f"missing key {', '.join(map(repr, missing))}", hint, "missing_key", missing[0])


def _slip(key: str, near: str) -> Mistake:
    return Mistake(f"unknown key {key[:60]!r}", f"did you mean {near!r}?", "unknown_key", key)


def nearest_key(key: str, keys: Iterable[str], *, likeness: float) -> str:
    """Return the key that is most like another one, whatever their case; nothing where none is like it."""
    lower = {other.lower(): other for other in keys}
    found = difflib.get_close_matches(key.lower(), list(lower), n=1, cutoff=likeness)
    return lower[found[0]] if found else ""


def find_unknown_name(ours: str, kind: RowKind) -> Mistake | None:
    """Say what is wrong with a name on our side of a field map, if rows of the kind have no such field."""
    known = {key for shape in _shapes_of(kind).values() for key in (*shape.keys, *shape.optional)}
    if ours in {*known, *_KEPT, *MESSAGE_KEYS}:
        return None
    hint = f"fields of {kind} rows: {', '.join(sorted(known))}"
    return Mistake(f"{kind} rows have no field {ours!r}", hint, "unknown_key", ours)


def _rename(fields: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Mapping[str, Any], list[Mistake]]:
    """Put fields under our names; those of messages (role, content) are left to the reader."""
    theirs = {ours: path for ours, path in names.items() if ours not in MESSAGE_KEYS}
    renamed = {ours: dig(fields, path) for ours, path in theirs.items()}
    hint = f"here: {', '.join(fields)[:200]}"
    lost = [
        Mistake(f"no column {theirs[ours]!r}, which stands for {ours}", hint, "missing_key", ours)
        for ours, value in renamed.items()
        if value is ABSENT
    ]
    taken = {*theirs.values(), *(path.partition(".")[0] for path in theirs.values())}
    return {key: value for key, value in fields.items() if key not in taken} | renamed, lost


def dig(value: Any, path: str) -> Any:
    """Return what a dotted path leads to, or ABSENT; numbers lead into lists, from 0."""
    key, dot, rest = path.partition(".")
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        value = value.get(key, ABSENT)
    elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
        value = value[int(key)]
    else:
        return value if value is None else ABSENT
    return dig(value, rest) if dot else value


def _build(content: Mapping[str, Any], fields: Mapping[str, Any], origin: Origin) -> Row:
    shared: dict[str, Any] = {key: fields.get(key) for key in _KEPT}
    shared |= {"row_id": content_id(content), "origin": origin}
    if "text" in content:
        return Document(text=content["text"], **shared)
    if "messages" in content:
        return Conversation(messages=build_messages(content["messages"]), **shared)
    *prompt, chosen, rejected = build_messages([*content["prompt"], content["chosen"], content["rejected"]])
    return Preference(prompt=tuple(prompt), chosen=chosen, rejected=rejected, **shared)
