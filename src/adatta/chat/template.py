"""Chat templates: rendered as transformers does it, with the place of every content in the result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.sandbox import ImmutableSandboxedEnvironment
from ruamel.yaml import YAML

from adatta.core.errors import TemplateError
from adatta.core.records import Message


@dataclass(frozen=True, slots=True)
class Span:
    """The characters `start` to `end` (exclusive) of a rendering are the content of message `index`."""

    start: int
    end: int
    index: int


@dataclass(frozen=True, slots=True)
class Rendering:
    """A rendered conversation and where its contents stand, in order; all else is the template's own."""

    text: str
    spans: tuple[Span, ...]


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}` marks assistant text for others; here its body is rendered and nothing more."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as an instance variable)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


class _Dict:
    """`dict` for templates: a callable without the class's attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _Namespace(jinja2.utils.Namespace):
    """`namespace` for templates: refuses names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _Namespace._check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace._check(name)
        super().__setitem__(name, value)

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"namespace attribute {name!r} begins with an underscore")


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Build the environment that transformers renders chat templates in (checked against it in the tests)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, dict=_Dict(), namespace=_Namespace
    )
    return environment


@cache
def _families() -> tuple[dict[str, Any], ...]:
    folder = resources.files("adatta.chat.profiles")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name
    )
    return tuple(YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")) for file in files)


class Template:
    """A chat template: messages to text, with the span of every content."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        """Compile a template.

        Args:
            text: Jinja source.
            variables: The tokenizer's special tokens (`bos_token`, ...), which templates may name.

        Raises:
            TemplateError: The source isn't valid Jinja.
        """
        self.text = text
        self._variables = dict(variables)
        try:
            self._compiled = _environment().from_string(text)
        except jinja2.exceptions.TemplateError as error:
            raise TemplateError(f"the chat template is not valid Jinja: {error}") from error
        families = (family for family in _families() if all(mark in text for mark in family["recognised_by"]))
        self._stripped_roles: tuple[str, ...] = tuple(next(families, {"strip": ()})["strip"])

    def render(self, messages: Sequence[Message], *, generation_prompt: bool) -> Rendering:
        """Render messages twice, with their contents and with private markers, and compare.

        Outside the contents both renderings must agree character for character, and each content must appear
        exactly once: so nothing that stands in a content can change the template's own text.

        Args:
            messages: The conversation; contents not empty.
            generation_prompt: Whether the header of an assistant's turn follows.

        Returns:
            The text with the contents, and the contents' spans.

        Raises:
            TemplateError: The template refuses the messages, or what it does with contents can't be followed.
        """
        given = [self._as_family(message) for message in messages]
        text = self._plain(given, generation_prompt)
        markers = self._markers(given)
        marked = self._plain(
            [replace(message, content=mark) for message, mark in zip(given, markers, strict=True)],
            generation_prompt,
        )
        for index, marker in enumerate(markers):
            if (count := marked.count(marker)) != 1:
                raise TemplateError(
                    f"the chat template renders message {index + 1} ({given[index].role}) {count} times, "
                    "once is expected: it drops, repeats or changes contents; use another template"
                )
        number = {marker: index for index, marker in enumerate(markers)}
        built, spans, position = [], [], 0
        for part in re.split("(" + "|".join(map(re.escape, markers)) + ")", marked):
            piece = given[number[part]].content if part in number else part
            if part in number:
                spans.append(Span(position, position + len(piece), number[part]))
            built.append(piece)
            position += len(piece)
        if (expected := "".join(built)) != text:
            raise TemplateError(_difference(expected, text))
        return Rendering(text, tuple(spans))

    def _as_family(self, message: Message) -> Message:
        if message.role in self._stripped_roles:
            return replace(message, content=message.content.strip())
        return message

    def _markers(self, messages: Sequence[Message]) -> list[str]:
        salt = 0
        while any(
            f"marker{salt}n" in text for text in (self.text, *(message.content for message in messages))
        ):
            salt += 1
        return [f"marker{salt}n{index}end" for index in range(len(messages))]

    def _plain(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        rows = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._compiled.render(
                messages=rows,
                tools=None,
                documents=None,
                add_generation_prompt=generation_prompt,
                **self._variables,
            )
        except (jinja2.exceptions.TemplateError, TypeError) as error:
            roles = ", ".join(message.role for message in messages)
            raise TemplateError(
                f"the chat template refuses the roles [{roles}] or a content: {error}"
            ) from error


def _difference(expected: str, text: str) -> str:
    """Describe where two renderings part."""
    pairs = zip(expected, text, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(text)))
    return (
        "the chat template changes its own text or a content because of what a content says: at character "
        f"{at} {text[max(0, at - 20) : at + 20]!r} is rendered, {expected[max(0, at - 20) : at + 20]!r} is "
        "expected. "
        "Reword the content, or describe the family in chat/profiles"
    )
