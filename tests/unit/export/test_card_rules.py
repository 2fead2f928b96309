"""The rules that stand for the Hub's: a right card passes, and each rule refuses what it is for."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import yaml

from tests.toys.card_rules import broken_rules

RIGHT = {
    "language": ["it", "en"],
    "license": "other",
    "license_name": "own-1.0",
    "license_link": "https://a.it/own",
    "library_name": "transformers",
    "pipeline_tag": "text-generation",
    "base_model": "owner/base",
    "base_model_relation": "finetune",
    "datasets": ["owner/rows"],
    "tags": ["adatta"],
    "model-index": [
        {
            "name": "demo",
            "results": [
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"type": "arc_it", "name": "ARC"},
                    "metrics": [{"type": "acc", "value": 0.4, "name": "accuracy"}],
                }
            ],
        }
    ],
}


def broken(change: Callable[[dict], object]) -> list[str]:
    metadata = copy.deepcopy(RIGHT)
    change(metadata)
    return broken_rules(f"---\n{yaml.safe_dump(metadata)}---\n# Demo\n")


def result(metadata: dict) -> dict:
    return metadata["model-index"][0]["results"][0]


def test_right_card_passes() -> None:
    assert broken(lambda card: None) == []
    assert broken(lambda card: [card.pop(key) for key in list(card) if not key.startswith("license")]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(license="Apache 2.0"), '"license" must be one of'),
        (lambda card: card.pop("license"), '"license" must be one of'),
        (lambda card: card.pop("license_name"), '"license_name" is needed'),
        (lambda card: card.update(license_name="My Own"), '"license_name" is needed'),
        (lambda card: card.pop("license_link"), '"license_link" is needed'),
        (lambda card: card.update(license_link="somewhere"), '"license_link" is needed'),
        (lambda card: card.update(language=["it-IT"]), '"language" with value'),
        (lambda card: card.update(language="italiano"), '"language" must be an array'),
        (lambda card: card.update(tags=[1]), '"tags" with value'),
        (lambda card: card.update(datasets=["/home/rosa/rows"]), '"datasets" with value'),
        (lambda card: card.update(pipeline_tag="Text Generation"), '"pipeline_tag" is not valid'),
        (lambda card: card.update(base_model="/home/rosa/base"), "Use a model id"),
        (lambda card: card.update(base_model="base"), "Use a model id"),
        (lambda card: card.update(base_model_relation="fine-tune"), '"base_model_relation" with value'),
        (lambda card: card.pop("base_model"), '"base_model_relation" with value'),
        (lambda card: card.update({"model-index": []}), '"model-index" must be an array'),
        (lambda card: card["model-index"][0].update(name=""), 'name" is not allowed to be empty'),
        (lambda card: card["model-index"][0].update(name="x" * 97), "or longer than 96"),
        (lambda card: card["model-index"][0].update(results=[]), 'results" is not allowed to be empty'),
        (lambda card: result(card)["task"].clear(), "task.type"),
        (lambda card: result(card)["dataset"].update(type="a b"), "fails to match the required pattern"),
        (lambda card: result(card)["dataset"].pop("type"), "fails to match the required pattern"),
        (lambda card: result(card)["dataset"].pop("name"), 'dataset.name" must be a string'),
        (lambda card: result(card)["dataset"].update(config=3), 'dataset.config" must be a string'),
        (lambda card: result(card).update(metrics=[]), 'metrics" is not allowed to be empty'),
        (lambda card: result(card)["metrics"][0].pop("type"), "need a type and a name"),
        (lambda card: result(card)["metrics"][0].pop("value"), 'value" is required'),
    ],
)
def test_each_rule_refuses_what_it_is_for(change: Callable[[dict], object], words: str) -> None:
    told = broken(change)
    assert len(told) == 1, told
    assert words in told[0]


@pytest.mark.parametrize(
    "content", ["# Demo\n", "---\n[1]\n---\n", "---\na: b: c\n---\n", "---\nlicense: mit\n"]
)
def test_card_without_metadata_is_refused(content: str) -> None:
    assert broken_rules(content)
