"""Chat templates: rendered as transformers does it, with the place of every content in the result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import count
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adatta.chat.family import find_family
from adatta.core.errors import TemplateError
from adatta.core.records import Message, shared_length

NOTHING = re.compile(r"(?!)")
_ADVICE = {"thoughts": "say `thoughts: drop`, or take a model whose template has them"}


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


class _Namespace(jinja2.utils.Namespace):
    """`namespace` for templates: refuses names that begin with an underscore."""

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __setitem__(self, name: Any, value: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"namespace attribute {name!r} begins with an underscore")
        super().__setitem__(name, value)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    """Stand for `dict` in templates, without the class's attributes."""
    return dict(*args, **kwargs)


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
        raise_exception=_raise_exception, strftime_now=_strftime_now, dict=_dict, namespace=_Namespace
    )
    return environment


class Template:
    """A chat template: messages to text, with the span of every content."""

    def __init__(self, text: str, variables: Mapping[str, str], typed: re.Pattern[str] = NOTHING) -> None:
        """Compile a template.

        Args:
            text: Jinja source.
            variables: The tokenizer's special tokens (`bos_token`, ...), which templates may name.
            typed: Texts of added tokens; where a content has one, the template must treat it as any word.

        Raises:
            TemplateError: The source isn't valid Jinja.
        """
        self.text = text
        self.family = find_family(text)
        self._variables = {"tools": None, "documents": None, **variables}
        self._typed = typed
        try:
            self._compiled = _environment().from_string(text)
        except jinja2.exceptions.TemplateError as error:
            raise TemplateError(f"the chat template is not valid Jinja: {error}") from error

    def render(
        self, messages: Sequence[Message], *, generation_prompt: bool, thinking: bool = False
    ) -> Rendering:
        """Render messages twice, with their contents and with private markers, and compare.

        Outside the contents both renderings must agree character for character, and each content must appear
        exactly once: so nothing that stands in a content can change the template's own text. Many templates
        look for tokens (`</think>`) in contents; there a word stands in for each, so that what somebody typed
        stays a word.

        Args:
            messages: The conversation; contents not empty; thoughts, where there are any, are rendered too.
            generation_prompt: Whether the header of an assistant's turn follows.
            thinking: What templates with a switch (`enable_thinking`) are told.

        Returns:
            The text with the contents, and the contents' spans.

        Raises:
            TemplateError: The template refuses the messages, or what it does with contents can't be followed.
        """
        given = [self.family.as_rendered(message) for message in messages]
        places = [
            (index, key)
            for index, message in enumerate(given)
            for key in ("thoughts", "content")
            if key == "content" or message.thoughts
        ]
        texts = [getattr(given[index], key) for index, key in places]
        harmless = [self._typed.sub("x", text) for text in texts]
        markers = self._markers(texts)
        options = {"add_generation_prompt": generation_prompt, "enable_thinking": thinking}
        marked = self._plain(_with_texts(given, places, markers), options)
        for (index, key), marker in zip(places, markers, strict=True):
            if (times := marked.count(marker)) != 1:
                raise TemplateError(
                    f"the chat template renders the {key} of message {index + 1} ({given[index].role}) "
                    f"{times} times, once is expected: it drops, repeats or changes them; "
                    + _ADVICE.get(key, "use another template")
                )
        parts = re.split("(" + "|".join(map(re.escape, markers)) + ")", marked)
        order = [markers.index(marker) for marker in parts[1::2]]
        built = _fill(parts[::2], [(harmless[number], places[number][0]) for number in order])
        text = self._plain(_with_texts(given, places, harmless), options)
        if built.text != text:
            raise TemplateError(_difference(built.text, text))
        if generation_prompt:
            tail = "" if thinking else self.family.close_thoughts
        else:
            tail = self.family.end_of_turn if messages[-1].role == "assistant" else ""
        parts[-1] += "" if text.endswith(tail) else tail
        return _fill(parts[::2], [(texts[number], places[number][0]) for number in order])

    def render_answer(self, messages: Sequence[Message]) -> tuple[Rendering, Rendering]:
        """Render the prompt of the last message, an answer, and the whole conversation.

        Args:
            messages: The conversation. Where a message has thoughts, it is one of a model that thinks.

        Returns:
            The prompt, and the whole, which begins with it.

        Raises:
            TemplateError: As `render`, or the whole doesn't begin with the prompt.
        """
        *before, answer = messages
        thinking = any(message.thoughts for message in messages)
        prompt = self.render(before, generation_prompt=True, thinking=thinking)
        if self.family.close_thoughts:
            bare = self.render([*before, replace(answer, thoughts="")], generation_prompt=False)
            answer = self.family.as_rendered(answer)
            pieces = [answer.thoughts] * thinking + [answer.content]
            own = [prompt.text, *[self.family.close_thoughts] * thinking, bare.text[bare.spans[-1].end :]]
            whole = _fill(own, [(piece, len(before)) for piece in pieces])
            whole = Rendering(whole.text, (*prompt.spans, *whole.spans))
        else:
            whole = self.render(messages, generation_prompt=False, thinking=thinking)
        if not whole.text.startswith(prompt.text):
            raise TemplateError(
                "the chat template writes a conversation in another way than the prompt of its last answer: "
                "training would show the model a text that it never sees in use; use another template"
            )
        return prompt, whole

    def _markers(self, texts: Sequence[str]) -> list[str]:
        taken = "\n".join((self.text, *texts))
        salt = next(number for number in count() if f"marker{number}n" not in taken)
        return [f"marker{salt}n{number}end" for number in range(len(texts))]

    def _plain(self, messages: Sequence[Message], options: Mapping[str, bool]) -> str:
        rows = [self.family.fields(message) for message in messages]
        try:
            return self._compiled.render(messages=rows, **options, **self._variables)
        except (jinja2.exceptions.TemplateError, TypeError) as error:
            roles = ", ".join(message.role for message in messages)
            what = f"the chat template refuses the roles [{roles}] or a content: {error}"
            raise TemplateError(what) from error


def _with_texts(
    messages: Sequence[Message], places: Sequence[tuple[int, str]], texts: Sequence[str]
) -> list[Message]:
    """Put texts in the places (message, field) of messages."""
    changes: list[dict[str, Any]] = [{} for _ in messages]
    for (index, key), text in zip(places, texts, strict=True):
        changes[index][key] = text
    return [replace(message, **change) for message, change in zip(messages, changes, strict=True)]


def _fill(own: Sequence[str], contents: Sequence[tuple[str, int]]) -> Rendering:
    """Join the template's own pieces with the contents (text, message) between them."""
    text, spans = own[0], []
    for (content, index), piece in zip(contents, own[1:], strict=True):
        spans.append(Span(len(text), len(text) + len(content), index))
        text += content + piece
    return Rendering(text, tuple(spans))


def _difference(expected: str, text: str) -> str:
    """Describe where two renderings part."""
    at = shared_length(expected, text)
    return (
        "the chat template changes its own text or a content because of what a content says: at character "
        f"{at} {text[max(0, at - 20) : at + 20]!r} is rendered, {expected[max(0, at - 20) : at + 20]!r} is "
        "expected. Reword the content, or describe the family in chat/profiles"
    )
