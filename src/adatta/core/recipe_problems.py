"""What a recipe's validation errors say to its user: place, mistake, nearest right name, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from adatta.core.settings import Settings
from adatta.core.yaml_source import Place, dotted, packaged_yaml, parts, value_at

Mistake = tuple[Place, str, str]  # a place of the recipe, what is wrong there, what to do


def explain(error: ValidationError, value: Any, *, root: type[Settings]) -> list[Mistake]:
    """Return each mistake; errors of a union's members become one.

    Args:
        error: what pydantic said of `value`.
        value: the recipe as read.
        root: the settings model that it was read into.
    """
    found: dict[Place, list[dict[str, Any]]] = {}
    for entry in error.errors(include_url=False):
        item: dict[str, Any] = {**entry}
        place = _existing(item["loc"], value)
        if item["type"] == "missing":
            place = (*place, item["loc"][-1])
        found.setdefault(place, []).append(item)
    around = {place[:end] for place in found for end in range(len(place))}
    inner = [place for place in found if place not in around]
    return [(place, *_tell(place, found[place], value, root)) for place in inner]


def nearest(word: str, known: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the known word nearest to `word`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _tell(place: Place, items: list[dict[str, Any]], value: Any, root: type[Settings]) -> tuple[str, str]:
    """Say what is wrong at a place and what to do."""
    first = items[0]
    inside = dotted(place[:-1]) or "the recipe"
    field, _ = _look_up(place, root)
    word = next((key for key in reversed(place) if isinstance(key, str)), "")
    meaning = f"{word}: {field.description}" if field and field.description else ""
    if first["type"] == "extra_forbidden":
        _, known = _look_up(place[:-1], root)
        suggestion = _suggest(str(place[-1]), known, root) if known else ""
        hint = f"known here: {', '.join(_fields(known))}" if known else ""
        return f"unknown key '{place[-1]}' in {inside}{suggestion}", hint
    if first["type"] == "missing":
        return f"missing key '{place[-1]}' in {inside}", meaning
    if first["type"] == "value_error":
        return f"{dotted(place)}: {first['msg'].removeprefix('Value error, ')}", meaning
    given = value_at(value, place)
    expected = " or ".join(dict.fromkeys(_expected(item) for item in items))
    choices = re.findall(r"'([^']+)'", first["msg"]) if first["type"] == "literal_error" else []
    suggestion = nearest(given, choices) if isinstance(given, str) else ""
    return f"{dotted(place)} is {_show(given)}; expected {expected}{suggestion}", meaning


def _expected(item: dict[str, Any]) -> str:
    return _words("expected").get(item["type"], str(item["msg"]).removeprefix("Input should be "))


def _words(table: str) -> dict[str, str]:
    return dict(packaged_yaml("adatta.core", "recipe_problems.yaml")[table])


def _show(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    if isinstance(value, str):
        return f"'{value}' (text)"
    if isinstance(value, int | float):
        return f"{value} (a number)"
    return "a list" if isinstance(value, list) else "a mapping"


def _suggest(word: str, here: type[Settings], root: type[Settings]) -> str:
    fields = _fields(here)
    word = _words("other_names").get(word, word)
    if word in fields:
        return f"; did you mean '{word}'?"
    for name, field in fields.items():
        if any(word in model.model_fields for model in _models_in(field)):
            return f"; did you mean '{name}.{word}'?"
    if word in _fields(root):
        return f"; '{word}' belongs at the top of the recipe"
    return nearest(word, list(fields))


def _fields(model: type[Settings]) -> dict[str, FieldInfo]:
    """Return the fields of a model by their names in a recipe."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _look_up(place: Place, root: type[Settings]) -> tuple[FieldInfo | None, type[Settings] | None]:
    """Return the field at a place, and the settings that it holds; None where there is no such thing."""
    field: FieldInfo | None = None
    model: type[Settings] | None = root
    for name in (name for name in place if isinstance(name, str)):
        field = _fields(model).get(name) if model else None
        model = next(_models_in(field), None) if field else None
    return field, model


def _models_in(field: FieldInfo) -> Iterator[type[Settings]]:
    pending = [field.annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, Settings):
            yield annotation
        pending.extend(get_args(annotation))


def _existing(place: Place, value: Any) -> Place:
    """Drop what pydantic adds to a place (a union's member), and what isn't there."""
    kept: list[str | int] = []
    for key in place:
        inner = dict(parts(value))
        if key not in inner:
            break
        value = inner[key]
        kept.append(key)
    return tuple(kept)
