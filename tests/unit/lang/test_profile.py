"""Reading language profiles; what holds for every one is in tests/contracts/test_profiles.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from adatta.core import yaml_source
from adatta.core.errors import RecipeError
from adatta.lang.profile import list_profiles, load_profile, load_traits


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that takes the place of adatta.lang.profiles."""
    folder = tmp_path / "profiles"
    folder.mkdir()

    class Resources:
        @staticmethod
        def files(package: str) -> Path:
            return folder if package.endswith("profiles") else tmp_path

    monkeypatch.setattr(yaml_source, "resources", Resources)
    load_profile.cache_clear()
    yield folder
    load_profile.cache_clear()


def test_load_profile_of_an_unknown_language_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="language 'tlh' has no profile; there are: en, it"):
        load_profile("tlh")


def test_load_profile_names_every_mistake_with_its_file(folder: Path) -> None:
    (folder / "xx.yaml").write_text(
        "tag: xx\nenglish_name: ''\ntypical: '('\nelision: si\nexamples: [{question: Che?}]\nwords: a b\n"
    )
    assert list_profiles() == ("xx",)
    with pytest.raises(RecipeError) as caught:
        load_profile("xx")
    told = {problem.what.partition(":")[0] for problem in caught.value.problems}
    assert {"english_name", "typical", "elision", "examples", "words", "system_prompt"} <= told
    assert {problem.where for problem in caught.value.problems} == {"lang/profiles/xx.yaml"}


def test_traits_of_a_profile_take_the_place_of_a_neighbours() -> None:
    traits = load_traits()
    assert traits["it"] == load_profile("it")
    assert {"it", "en", "es", "pt", "ca", "fr", "ro"} <= set(traits)
    assert all(traits[tag].stop_words for tag in traits)
