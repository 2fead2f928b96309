"""Language profiles."""

from __future__ import annotations

import pytest

from adatta.core.errors import RecipeError
from adatta.lang.identify import identify
from adatta.lang.profile import list_profiles, load_profile


@pytest.mark.parametrize("tag", list_profiles())
def test_profile_is_written_in_its_own_language(tag: str) -> None:
    profile = load_profile(tag)
    question, answer = profile.one_shot
    assert (question.role, answer.role, profile.tag) == ("user", "assistant", tag)
    for text in (profile.system_prompt, question.content, answer.content):
        found, probability = identify(text)
        assert found == tag
        assert probability > 0.9
        assert text == text.strip()
        assert "  " not in text


def test_system_prompt_of_italian_has_30_to_45_words() -> None:
    assert 30 <= len(load_profile("it").system_prompt.split()) <= 45


def test_load_profile_of_an_unknown_language_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="language 'tlh' has no profile; there are: en, it"):
        load_profile("tlh")
