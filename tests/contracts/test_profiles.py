"""Every language profile: in its own language, well formed, every key of it used."""

from __future__ import annotations

import ast
import re

import pytest

from adatta.core.registry import list_names
from adatta.data.overlap import words
from adatta.evals.classify import Question
from adatta.lang.identify import identify
from adatta.lang.normalize import normalize, split_words
from adatta.lang.profile import Profile, list_profiles, load_profile
from tests.architecture.source import modules

# RFC 5646: language, script, region.
TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")


@pytest.fixture(params=list_profiles())
def profile(request):
    return load_profile(request.param)


def own_texts(profile):
    return [profile.system_prompt, *(message.content for example in profile.examples for message in example)]


def test_tag_is_well_formed(profile):
    assert TAG.fullmatch(profile.tag)
    assert profile.tag in list_profiles()


def test_prompt_and_example_are_in_the_language(profile):
    for example in profile.examples:
        assert [message.role for message in example] == ["user", "assistant"]
    for text in own_texts(profile):
        tag, probability = identify(text)
        assert tag == profile.tag.partition("-")[0]
        assert probability > 0.9
        assert text == " ".join(text.split())


def test_system_prompt_is_of_a_usual_length(profile):
    assert 30 <= len(profile.system_prompt.split()) <= 45


def test_classification_asks_with_labels_and_text(profile):
    labels = ["primo=a", "secondo"]
    read = Question(labels, profile).judgements("IL TESTO")[0]
    assert [scored for _, scored in read] == ["primo", "secondo"]
    assert all("- primo: a\n- secondo\n" in prompt and "IL TESTO" in prompt for prompt, _ in read)
    yes, no = Question(labels, profile, several=True).judgements("IL TESTO")[0]
    assert yes[0] == no[0]
    assert yes[1] != no[1]
    assert "IL TESTO" in yes[0]
    assert "primo (a)" in yes[0]


def test_stop_words_are_words_that_its_texts_are_full_of(profile):
    for word in profile.stop_words:
        assert split_words(word, profile) == [word]
    own = [word for text in own_texts(profile) for word in split_words(text, profile)]
    assert sum(word in profile.stop_words for word in own) > 0.3 * len(own)


def test_patterns_fit_its_own_texts(profile):
    rest = " ".join(
        word
        for text in own_texts(profile)
        for word in split_words(text, profile)
        if word not in profile.stop_words
    )
    assert not profile.foreign.findall(rest)
    assert not profile.typical.pattern.strip("(?!)") or profile.typical.findall(rest)


def test_typed_accents_become_what_they_stand_for(profile):
    for typed, meant in profile.typed_accents.items():
        assert normalize(f"{typed}'", profile) == normalize(meant, profile) == meant


def test_patterns_of_refusals_and_harm_are_in_plain_words(profile):
    patterns = [*profile.refusals, *profile.harm_terms.values(), *profile.harm_excuses]
    for pattern in patterns:
        re.compile(pattern)
        letters = re.sub(r"\\.|[^\w]", " ", pattern)
        assert " ".join(words(letters)) == " ".join(letters.split())
    for text in own_texts(profile):
        plain = " ".join(words(text))
        assert not any(re.search(rf"\b(?:{pattern})\b", plain) for pattern in patterns)


def test_suites_are_there(profile):
    assert set(profile.suites) <= set(list_names("adatta.evals.suites"))


def test_every_key_of_a_profile_is_read_by_code():
    read = {
        node.attr
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert not set(Profile.model_fields) - read
