"""Rules of the Hub for the metadata of a model card, as far as known, each with where it is known from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

# https://huggingface.co/docs/hub/repositories-licenses; the list there grows.
_LISTED = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc
cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0
cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl
openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 llama3
llama3.1 llama3.2 llama3.3 llama4 gemma unknown other
"""
LICENCES = set(_LISTED.split())
RELATIONS = {"adapter", "finetune", "merge", "quantized"}  # docs/hub/model-cards, "Specifying a base model"
DATASET = re.compile(
    r"(?:[\w-]+/)?[\w.-]+"
)  # as the Hub's own message has it: embeddings-benchmark/mteb#1111
MODEL = re.compile(r"[\w.-]+/[\w.-]+")  # a path is refused: huggingface/transformers#32212


def broken_rules(content: str) -> list[str]:
    """Say what the Hub would refuse in a card.

    Args:
        content: README.md.
    """
    match = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", content, re.DOTALL)
    try:
        metadata = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        return [f"metadata is no YAML: {error}"]
    if not isinstance(metadata, dict):
        return ["metadata must be a mapping between two lines of ---"]
    return [*_licence(metadata), *_names(metadata), *_base(metadata), *_model_index(metadata)]


def _licence(metadata: dict[str, Any]) -> Iterator[str]:
    licence = metadata.get("license")
    if licence not in LICENCES:
        yield f'"license" must be one of the list, given {licence!r}'
    name, link = metadata.get("license_name"), metadata.get("license_link")
    if licence == "other" and not (isinstance(name, str) and re.fullmatch(r"[a-z0-9.-]+", name)):
        yield f'"license_name" is needed with other, in lower case, given {name!r}'
    if licence == "other" and not re.match(r"https?://\S+|LICENSE(\.md)?$", str(link)):
        yield f'"license_link" is needed with other, an address or LICENSE, given {link!r}'


def _names(metadata: dict[str, Any]) -> Iterator[str]:
    for key, pattern in (
        ("language", r"[a-z]{2,3}|code|multilingual"),
        ("tags", r".{1,100}"),
        ("datasets", DATASET),
    ):
        values = metadata.get(key, [])
        if not isinstance(values, list):
            yield f'"{key}" must be an array'
            continue
        yield from (
            f'"{key}" with value {value!r} is not valid'
            for value in values
            if not (isinstance(value, str) and re.fullmatch(pattern, value))
        )
    for key in ("library_name", "pipeline_tag"):
        if not re.fullmatch(r"[a-z0-9-]+", str(metadata.get(key, "none"))):
            yield f'"{key}" is not valid'


def _base(metadata: dict[str, Any]) -> Iterator[str]:
    base, relation = metadata.get("base_model"), metadata.get("base_model_relation")
    for name in base if isinstance(base, list) else [base] if base is not None else []:
        if not (isinstance(name, str) and MODEL.fullmatch(name)):
            yield f'"base_model" with value {name!r} is not valid. Use a model id'
    if relation is not None and (relation not in RELATIONS or base is None):
        yield f'"base_model_relation" with value {relation!r} is not valid'


def _model_index(metadata: dict[str, Any]) -> Iterator[str]:
    """Structure: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    if "model-index" not in metadata:
        return
    index = metadata["model-index"]
    if not (isinstance(index, list) and index):
        yield '"model-index" must be an array that isn\'t empty'
        return
    for place, model in enumerate(index):
        where = f"model-index[{place}]"
        if not (isinstance(model.get("name"), str) and 0 < len(model["name"]) <= 96):
            yield f'"{where}.name" is not allowed to be empty or longer than 96'
        if not model.get("results"):
            yield f'"{where}.results" is not allowed to be empty'
        for number, result in enumerate(model.get("results") or ()):
            yield from _result(result, f"{where}.results[{number}]")


def _result(result: dict[str, Any], where: str) -> Iterator[str]:
    task, dataset, metrics = (result.get(key) or {} for key in ("task", "dataset", "metrics"))
    if not isinstance(task.get("type"), str):
        yield f'"{where}.task.type" is required'
    if not DATASET.fullmatch(str(dataset.get("type", ""))):
        yield f'"{where}.dataset.type" fails to match the required pattern'
    for key in ("name", "config", "split", "revision"):
        if not isinstance(dataset.get(key, None if key == "name" else ""), str):
            yield f'"{where}.dataset.{key}" must be a string'
    if not metrics:
        yield f'"{where}.metrics" is not allowed to be empty'
    for metric in metrics:
        if not (isinstance(metric.get("type"), str) and isinstance(metric.get("name", ""), str)):
            yield f'"{where}.metrics" need a type and a name that are strings'
        if metric.get("value") is None:
            yield f'"{where}.metrics.value" is required'
