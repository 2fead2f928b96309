"""The base's licence is found where it stands, kept, and what it asks for is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFWriter

from adatta.core.errors import PublishError
from adatta.core.yaml_source import packaged_yaml
from adatta.export.licence import Licence, find_licence, is_non_commercial, require_name
from adatta.model.name import ModelName, parse_name
from tests.toys.card_rules import LICENCES

TABLE = packaged_yaml("adatta.export", "licences.yaml")


def write_card(folder: Path, front: str) -> ModelName:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text(f"---\n{front}\n---\n# Base\n", encoding="utf-8")
    return parse_name(str(folder))


def write_gguf(path: Path, licence: str | None) -> ModelName:
    writer = GGUFWriter(path, "llama")
    if licence:
        writer.add_license(licence)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return parse_name(str(path))


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("license: mit", ("mit", None, None)),
        ("license: [gemma]", ("gemma", None, None)),
        (
            "license: other\nlicense_name: own\nlicense_link: https://a.it/own",
            ("other", "own", "https://a.it/own"),
        ),
    ],
)
def test_licence_stands_in_the_folders_card(tmp_path: Path, front: str, expected: tuple) -> None:
    found = find_licence(write_card(tmp_path / "base", front), None)
    assert (found.identifier, found.name, found.link) == expected


@pytest.mark.parametrize("front", ["license: unknown", "license: other", "license: []", "language: it"])
def test_card_that_names_no_licence_needs_the_user(tmp_path: Path, front: str) -> None:
    base = write_card(tmp_path / "base", front)
    with pytest.raises(PublishError, match="name it in the recipe"):
        find_licence(base, None)
    assert find_licence(base, "mit").identifier == "mit"


def test_licence_stands_in_a_gguf_file(tmp_path: Path) -> None:
    assert find_licence(write_gguf(tmp_path / "a.gguf", "apache-2.0"), None).identifier == "apache-2.0"
    with pytest.raises(PublishError, match=r"b\.gguf stands neither in its files"):
        find_licence(write_gguf(tmp_path / "b.gguf", None), None)


def test_papers_of_the_base_are_taken_along(tmp_path: Path) -> None:
    base = write_card(tmp_path / "base", "license: llama3.1")
    for name in ("LICENSE", "NOTICE", "USE_POLICY.md", "model.safetensors", "notes.txt"):
        (tmp_path / "base" / name).write_text("x")
    assert [path.name for path in find_licence(base, None).papers] == ["LICENSE", "NOTICE", "USE_POLICY.md"]


def test_base_of_the_hub_that_cannot_be_reached_needs_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    base = ModelName(name="owner/base", kind="hub", repository="owner/base")
    with pytest.raises(PublishError, match="the licence of the base owner/base stands neither"):
        find_licence(base, None)
    assert find_licence(base, "mit").papers == ()


def test_user_cannot_change_the_bases_licence(tmp_path: Path) -> None:
    base = write_card(tmp_path / "base", "license: llama3")
    assert find_licence(base, "llama3").identifier == "llama3"
    with pytest.raises(PublishError, match="is under llama3, which is kept; leave it out"):
        find_licence(base, "mit")


@pytest.mark.parametrize("given", ["MIT", "apache", "", "Apache-2.0"])
def test_licence_that_is_none_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(PublishError, match="no such identifier; one is apache"):
        find_licence(write_card(tmp_path / "base", "license: mit"), given)


@pytest.mark.parametrize(
    ("licence", "name", "is_right"),
    [
        ("llama3", "Llama-3-Ada", True),
        ("llama3", "llama3-ada", True),
        ("llama3", "LLaMA_3.Ada", True),
        ("llama3", "Llama-Ada", False),
        ("llama3", "Ada-Llama-3", False),
        ("llama3.1", "Llama-Ada", True),
        ("llama3.1", "Ada", False),
        ("llama2", "Ada", True),
        ("gemma", "Ada", True),
        ("mit", "Ada", True),
    ],
)
def test_names_begin_as_the_licence_wants(licence: str, name: str, is_right: bool) -> None:
    if is_right:
        require_name(Licence(identifier=licence), f"rosa/{name}")
    else:
        with pytest.raises(PublishError, match="wants names that begin with"):
            require_name(Licence(identifier=licence), f"rosa/{name}")


@pytest.mark.parametrize(
    "text",
    [
        "cc-by-nc-4.0",
        "CC BY-NC-SA 4.0",
        "CC_BY_NC_ND 3.0",
        "Non-Commercial",
        "noncommercial use",
        "intel-research",
    ],
)
def test_licences_that_forbid_commerce_are_told_by_their_names(text: str) -> None:
    assert is_non_commercial(text)


@pytest.mark.parametrize("text", ["ncsa", "cc-by-sa-4.0", "mit", "cc0-1.0", "odc-by", "llama3"])
def test_licences_that_allow_commerce_are_not_taken_for_others(text: str) -> None:
    assert not is_non_commercial(text)


def test_table_knows_what_the_hub_knows_and_every_rule_is_of_one_of_them() -> None:
    assert set(TABLE["known"]) >= LICENCES - {"other", "unknown"}
    assert set(TABLE["rules"]) <= set(TABLE["known"])
    for rule in TABLE["rules"].values():
        assert rule["link"].startswith("https://")
        assert rule["notice"]
