"""Language profiles: all that is specific to a language, one YAML file a language."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from pydantic import Field, ValidationError, field_validator
from ruamel.yaml import YAML

from adatta.core.errors import Problem, RecipeError
from adatta.core.records import Message
from adatta.core.settings import Settings


class Profile(Settings):
    """What adatta knows of one language."""

    tag: str
    """BCP 47 tag; the name of the file."""
    english_name: str = Field(min_length=1)
    """What the language is called in English, for reports."""
    system_prompt: str = Field(min_length=1)
    """Stands before conversations that have none of their own."""
    one_shot: tuple[Message, Message]
    """An example exchange, for the control that shows an untrained model the language."""
    elision: bool
    """Whether an apostrophe stands between two words, as in l'acqua, or inside one, as in don't."""
    typed_accents: Mapping[str, str] = {}
    """What replaces a word, its last 3 letters or its last vowel before an apostrophe typed for an accent."""

    @field_validator("one_shot", mode="before")
    @classmethod
    def _read_example(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or set(value) != {"question", "answer"}:
            raise ValueError("needs question and answer")
        question = Message(role="user", content=value["question"])
        return question, Message(role="assistant", content=value["answer"])


def list_profiles() -> tuple[str, ...]:
    """Return the tags of the languages that have a profile, sorted."""
    files = resources.files("adatta.lang.profiles").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


@cache
def load_profile(tag: str) -> Profile:
    """Read the profile of a language.

    Args:
        tag: BCP 47 tag, as in the recipe's `language`.

    Returns:
        The profile.

    Raises:
        RecipeError: No profile has this tag, or its file has mistakes.
    """
    if tag not in list_profiles():
        known = ", ".join(list_profiles())
        raise RecipeError(
            f"language {tag!r} has no profile; there are: {known}. Add lang/profiles/{tag}.yaml"
        )
    text = resources.files("adatta.lang.profiles").joinpath(f"{tag}.yaml").read_text(encoding="utf-8")
    try:
        return Profile.model_validate(YAML(typ="safe", pure=True).load(text))
    except ValidationError as error:
        where = f"lang/profiles/{tag}.yaml"
        raise RecipeError(
            [
                Problem(where=where, what=f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
                for fault in error.errors()
            ]
        ) from error
