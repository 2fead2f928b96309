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
    """A scalar, or a dict or a list of other marked values, and the mark of what set it."""

    content: Any
    mark: Mark

    @property
    def value(self) -> Any:
        """The same without marks."""
        if isinstance(self.content, dict):
            return {key: part.value for key, part in self.content.items()}
        if isinstance(self.content, list):
            return [part.value for part in self.content]
        return self.content

    def walk(self, place: Place = ()) -> Iterator[tuple[Place, Marked]]:
        """Yield every place in it with what stands there, outer ones before what is in them."""
        yield place, self
        for key, part in parts(self.content):
            yield from part.walk((*place, key))

    def nearest_mark(self, place: Place) -> Mark:
        """Return the mark of a place, or of the nearest place around it that is there."""
        inner = dict(parts(self.content)).get(place[0]) if place else None
        return inner.nearest_mark(place[1:]) if inner else self.mark

    def overlaid(self, over: Marked) -> Marked:
        """Lay `over` on it: mappings merge key by key, everything else (lists too) replaces."""
        if not (isinstance(self.content, dict) and isinstance(over.content, dict)):
            return over
        merged = dict(self.content)
        for key, part in over.content.items():
            merged[key] = merged[key].overlaid(part) if key in merged else part
        return Marked(merged, over.mark)

    def replaced(self, place: Place, part: Marked) -> Marked:
        """Return it with `part` at `place`; mappings on the way are made where they are missing.

        Raises:
            KeyError: with the part of the place that is neither in a mapping nor an index in a list.
        """
        if not place:
            return part
        key, rest = place[0], place[1:]
        if isinstance(self.content, list) and isinstance(key, int) and key < len(self.content):
            items = list(self.content)
            items[key] = items[key].replaced(rest, part)
            return Marked(items, self.mark)
        if isinstance(self.content, dict) or self.content is None:
            mapping = dict(self.content or {})
            mapping[str(key)] = mapping.get(str(key), Marked({}, part.mark)).replaced(rest, part)
            return Marked(mapping, self.mark)
        raise KeyError(key)


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
    tree = reader.read(root, (), line)
    if reader.problems:
        raise RecipeError(reader.problems)
    return tree


@cache
def packaged_yaml(package: str, file: str) -> Any:
    """Return what a YAML file of a package holds; read once."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text)


def packaged_names(package: str) -> tuple[str, ...]:
    """List the YAML files of a package, without their suffix, sorted."""
    files = resources.files(package).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def parts(value: Any) -> list[tuple[str | int, Any]]:
    """List what a mapping or a list holds, by key or index; nothing for a scalar."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the places of all scalars and of all empty lists and mappings, in order."""
    if not parts(value):
        yield place
    for key, part in parts(value):
        yield from leaves(part, (*place, key))


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
    """Turns nodes into marked values, collecting problems."""

    def __init__(self, yaml: YAML, source: str, first_line: int) -> None:
        self.yaml, self.source, self.first_line = yaml, source, first_line
        self.problems: list[Problem] = []

    def read(self, node: Node | None, place: Place, line: int) -> Marked:
        content: Any = None
        if len(place) > _MAX_DEPTH:
            self._refuse(line, "nested too deeply", "an alias must not hold itself")
        elif isinstance(node, MappingNode):
            content = self._mapping(node, place)
        elif isinstance(node, SequenceNode):
            content = [self.read(item, (*place, i), self._line(item)) for i, item in enumerate(node.value)]
        elif isinstance(node, ScalarNode):
            content = self._scalar(node, place, line)
        return Marked(content, Mark(self.source, line))

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, Marked]:
        content: dict[str, Marked] = {}
        for key_node, item in node.value:
            line, key = self._line(key_node), key_node.value
            if not isinstance(key_node, ScalarNode):
                self._refuse(line, "a key that is no plain word", "write `key: value`")
            elif key in content:
                hint = f"it stands first on line {content[key].mark.line}; keep one of the two"
                self._refuse(line, f"duplicate key '{dotted((*place, key))}'", hint)
            else:
                content[key] = self.read(item, (*place, key), line)
        return content

    def _scalar(self, node: ScalarNode, place: Place, line: int) -> Any:
        tag = str(node.tag)
        if tag in _TEXT_TAGS:
            return node.value
        what = f"tag {tag.removeprefix(_TAG)!r} at '{dotted(place)}'"
        if tag in _PLAIN_TAGS:
            try:
                return self.yaml.constructor.construct_object(node, deep=True)
            except (ConstructorError, ValueError) as error:
                what = f"'{dotted(place)}' is {node.value!r}: {error}"
        self._refuse(line, what, "write a plain value")
        return None

    def _line(self, node: Node) -> int:
        return int(node.start_mark.line) + self.first_line if self.first_line else 0

    def _refuse(self, line: int, what: str, hint: str) -> None:
        self.problems.append(Problem(where=str(Mark(self.source, line)), what=what, hint=hint))


def _syntax_problem(error: YAMLError, source: str, first_line: int) -> Problem:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    line = mark.line + first_line if mark and first_line else first_line
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    return Problem(
        where=str(Mark(source, line)), what=f"no YAML: {reason}", hint="check indentation and brackets"
    )
