"""Language profiles: all that is specific to a language, one YAML file a language."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from ruamel.yaml import YAML

from adatta.core.errors import RecipeError
from adatta.core.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What adatta knows of one language; `tag` is its BCP 47 tag and the name of its file.

    `system_prompt` stands before conversations that have none of their own; `one_shot` is an example
    exchange, the control that tells what an untrained model does once it is shown the language.
    """

    tag: str
    name: str
    english_name: str
    system_prompt: str
    one_shot: tuple[Message, Message]


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
        RecipeError: No profile has this tag.
    """
    if tag not in list_profiles():
        known = ", ".join(list_profiles())
        raise RecipeError(
            f"language {tag!r} has no profile; there are: {known}. Add lang/profiles/{tag}.yaml"
        )
    text = resources.files("adatta.lang.profiles").joinpath(f"{tag}.yaml").read_text(encoding="utf-8")
    fields = YAML(typ="safe", pure=True).load(text)
    example = fields.pop("one_shot")
    question = Message(role="user", content=example["question"])
    answer = Message(role="assistant", content=example["answer"])
    return Profile(**fields, one_shot=(question, answer))
