"""YAML 1.2 files as plain values in which every value knows the line that set it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from adatta.core.errors import Problem, RecipeError

Place = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + name for name in ("int", "float", "bool", "null")}
_TEXT_TAGS = {_TAG + name for name in ("str", "timestamp")}  # a date is text, as YAML 1.2 says
_MAX_DEPTH = 30  # deeper is an alias that holds itself


class Mark(NamedTuple):
    """What set a value: a file with a line from 1, or a flag (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Marked:
    """A value made of dicts, lists and scalars, and the mark of every place in it."""

    value: Any
    marks: dict[Place, Mark]

    def mark(self, place: Place) -> Mark:
        """Return the mark of a place, or of the nearest place around it that has one."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks[place]


def read_yaml(text: str, source: str, *, line: int = 1) -> Marked:
    """Read one YAML document.

    Args:
        text: the document.
        source: what marks and problems call it.
        line: the number of its first line; 0 for a flag, whose values carry no line.

    Raises:
        RecipeError: with every duplicate key and every tag that isn't plain, or the syntax error.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except YAMLError as error:
        raise RecipeError(_syntax_problem(error, source, line)) from error
    reader = _Reader(yaml, source, line)
    value = reader.read(root, (), line)
    if reader.problems:
        raise RecipeError(reader.problems)
    return Marked(value, reader.marks)


@cache
def packaged_yaml(package: str, file: str) -> Any:
    """Return what a YAML file of a package holds; read once."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text)


def overlay(base: Marked, over: Marked) -> Marked:
    """Lay `over` on `base`: mappings merge key by key, everything else (lists too) replaces."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    value, marks = dict(base.value), dict(base.marks)
    marks[()] = over.marks[()]
    for key in over.value:
        part = _part(over, key)
        if key in value:
            part = overlay(_part(base, key), part)
        _put(value, marks, key, part)
    return Marked(value, marks)


def replace_at(tree: Marked, place: Place, *, part: Marked) -> Marked:
    """Return `tree` with `part` at `place`; mappings on the way are made where they are missing.

    Raises:
        KeyError: with the part of the place that is neither in a mapping nor an index in a list.
    """
    if not place:
        return part
    key, rest = place[0], place[1:]
    empty = Marked({}, {(): part.marks[()]})
    value, marks = tree.value, dict(tree.marks)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        value = list(value)
        child = _part(tree, key)
    elif isinstance(value, dict) or value is None:
        value = dict(value or {})
        key = str(key)
        child = _part(tree, key) if key in value else empty
    else:
        raise KeyError(key)
    _put(value, marks, key, replace_at(child, rest, part=part))
    return Marked(value, marks)


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the places of all scalars and of all empty lists and mappings, in order."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    if not items:
        yield place
    for key, item in items:
        yield from leaves(item, (*place, key))


def value_at(value: Any, place: Place) -> Any:
    """Return what stands at a place of plain values.

    Raises:
        KeyError: if there is no such key.
        IndexError: if there is no such index.
    """
    for key in place:
        value = value[key]
    return value


def dotted(place: Place) -> str:
    """Return a place as the recipe's users write it: `stages.0.sft.optimizer.lr`."""
    return ".".join(map(str, place))


class _Reader:
    """Turns nodes into values, collecting marks and problems."""

    def __init__(self, yaml: YAML, source: str, first_line: int) -> None:
        self.yaml, self.source, self.first_line = yaml, source, first_line
        self.marks: dict[Place, Mark] = {}
        self.problems: list[Problem] = []

    def read(self, node: Node | None, place: Place, line: int) -> Any:
        self.marks[place] = Mark(self.source, line)
        if len(place) > _MAX_DEPTH:
            return self._refuse(place, "nested too deeply", "an alias must not hold itself")
        if isinstance(node, MappingNode):
            return self._mapping(node, place)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*place, i), self._line(item)) for i, item in enumerate(node.value)]
        return self._scalar(node, place) if isinstance(node, ScalarNode) else None

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, item in node.value:
            line = self._line(key_node)
            here = (*place, str(key_node.value))
            if not isinstance(key_node, ScalarNode):
                self.marks[here] = Mark(self.source, line)
                self._refuse(here, "a key that is no plain word", "write `key: value`")
            elif key_node.value in value:
                hint = f"it stands first on line {self.marks[here].line}; keep one of the two"
                self.marks[here] = Mark(self.source, line)
                self._refuse(here, f"duplicate key '{dotted(here)}'", hint)
            else:
                value[key_node.value] = self.read(item, here, line)
        return value

    def _scalar(self, node: ScalarNode, place: Place) -> Any:
        tag = str(node.tag)
        if tag in _TEXT_TAGS:
            return node.value
        if tag not in _PLAIN_TAGS:
            return self._refuse(
                place, f"tag {tag.removeprefix(_TAG)!r} at '{dotted(place)}'", "write a plain value"
            )
        try:
            return self.yaml.constructor.construct_object(node, deep=True)
        except (ConstructorError, ValueError) as error:
            return self._refuse(place, f"'{dotted(place)}' is {node.value!r}: {error}", "write a plain value")

    def _line(self, node: Node) -> int:
        return int(node.start_mark.line) + self.first_line if self.first_line else 0

    def _refuse(self, place: Place, what: str, hint: str) -> None:
        self.problems.append(Problem(where=str(self.marks[place]), what=what, hint=hint))


def _part(tree: Marked, key: str | int) -> Marked:
    marks = {place[1:]: mark for place, mark in tree.marks.items() if place and place[0] == key}
    return Marked(tree.value[key], marks)


def _put(value: Any, marks: dict[Place, Mark], key: str | int, part: Marked) -> None:
    value[key] = part.value
    for place in [place for place in marks if place and place[0] == key]:
        del marks[place]
    marks.update({(key, *place): mark for place, mark in part.marks.items()})


def _syntax_problem(error: YAMLError, source: str, first_line: int) -> Problem:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    line = mark.line + first_line if mark and first_line else first_line
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    return Problem(
        where=str(Mark(source, line)), what=f"no YAML: {reason}", hint="check indentation and brackets"
    )
