"""Language profiles: all that is specific to a language, one YAML file a language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import Field, ValidationError, field_validator

from adatta.core.errors import Problem, RecipeError
from adatta.core.records import Message
from adatta.core.settings import Many, Settings
from adatta.core.yaml_source import dotted, packaged_names, packaged_yaml


class Traits(Settings):
    """What texts of a language look like: how it divides words, and what tells it from its neighbours."""

    elision: bool = False
    """Whether an apostrophe stands between two words, as in l'acqua, or inside one, as in don't."""
    typed_accents: Mapping[str, str] = {}
    """What replaces a word, its last 3 letters or its last vowel before an apostrophe typed for an accent."""
    stop_words: frozenset[str] = frozenset()
    """The words that hold sentences together, in lower case, apart at apostrophes if there is elision."""
    typical: re.Pattern[str] = re.compile(r"(?!)")
    """Pattern of words, none of them a stop word, that look like this language rather than its neighbours."""
    foreign: re.Pattern[str] = re.compile(r"(?!)")
    """Pattern of words that this language hardly has."""
    prior: float = 0.0
    """Log odds that make up for fastText's bias against the language."""

    @field_validator("stop_words", mode="before")
    @classmethod
    def _split_words(cls, value: Any) -> Any:
        return frozenset(value.split()) if isinstance(value, str) else value


class Profile(Traits):
    """What adatta knows of one language."""

    tag: str
    """BCP 47 tag; the name of the file."""
    english_name: str = Field(min_length=1)
    """What the language is called in English, for reports."""
    identified_as: str = Field(min_length=2)
    """What fastText calls the language: mostly the tag, but `no` for nb."""
    suites: Many[str]
    """What evaluate measures where the recipe names no suites."""
    system_prompt: str = Field(min_length=1)
    """Stands before conversations that have none of their own."""
    examples: Many[tuple[Message, Message]] = Field(min_length=1)
    """Example exchanges, for the controls that show an untrained model the language."""
    label_prompt: str = Field(min_length=1)
    """What is asked for one of several labels: `{labels}` is their list, `{text}` the text, `{label}` one."""
    yes_no_prompt: str = Field(min_length=1)
    """What is asked about one label by itself; its end is the two answers, as in `{yes|no}`."""
    refusals: Many[str]
    """Patterns of what an answer says that declines a wish, in the plain words of a text, as whole words."""
    harm_terms: Mapping[str, str]
    """Kinds of harm, each with a pattern of wishes for it in the plain words of a text, as whole words."""
    harm_excuses: Many[str] = ()
    """Patterns of what harmless wishes that speak of harm say: of preventing, reporting or telling it."""

    @field_validator("examples", mode="before")
    @classmethod
    def _read_examples(cls, values: Any) -> Any:
        if not isinstance(values, list) or not all(
            isinstance(value, Mapping) and set(value) == {"question", "answer"} for value in values
        ):
            raise ValueError("needs a list of exchanges, each with question and answer")
        said = ((value["question"], value["answer"]) for value in values)
        return [(Message(role="user", content=q), Message(role="assistant", content=a)) for q, a in said]


def list_profiles() -> tuple[str, ...]:
    """Return the tags of the languages that have a profile, sorted."""
    return packaged_names("adatta.lang.profiles")


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
        what = f"language {tag!r} has no profile; there are: {', '.join(list_profiles())}"
        raise RecipeError(f"{what}. Add lang/profiles/{tag}.yaml")
    try:
        return Profile.model_validate(packaged_yaml("adatta.lang.profiles", f"{tag}.yaml"))
    except ValidationError as error:
        told = [f"{dotted(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        problems = [Problem(where=f"lang/profiles/{tag}.yaml", what=what) for what in told]
        raise RecipeError(problems) from error


@cache
def load_traits() -> Mapping[str, Traits]:
    """Read the traits of every language that has some, by fastText's name of the language.

    Those without a profile stand in `neighbours.yaml`.
    """
    neighbours = packaged_yaml("adatta.lang", "neighbours.yaml").items()
    profiles = map(load_profile, list_profiles())
    found = {tag: Traits.model_validate(fields) for tag, fields in neighbours}
    return found | {profile.identified_as: profile for profile in profiles}
