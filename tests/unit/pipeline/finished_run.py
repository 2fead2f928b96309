"""A finished run on disk, as `adatta run` leaves it: real records and report, weights of a few bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from adatta.core.artefact import begin, complete, set_current, write_json
from adatta.core.recipe import dump_recipe, load_recipe
from adatta.pipeline.plan import list_evaluated
from adatta.pipeline.report import build_report
from tests.unit.pipeline.made_up_run import make_inputs

TRAINING = ("sft", "dpo", "adapt")
COMMIT = "c0ffee" * 6 + "abcd"


def write_finished_run(
    home: Path,
    *,
    base: str,
    stages: Sequence[str] = (*TRAINING, "evaluate", "export", "report"),
    licences: Mapping[str, str] | None = None,
    not_held: Sequence[str] = (),
    identity: str = "7d0c1f39be52",
    said: str | None = None,
) -> Path:
    """Write a run called demo, with its data and its recipe.

    Args:
        home: the folder that holds `runs/`.
        base: the base model's name.
        stages: kinds, in order.
        licences: of the data of a stage, by its name; the others have none.
        not_held: what the run's guard found.
        identity: the base model's fingerprint; the commit, for one of the Hub.
        said: the base's licence by the recipe.
    """
    run = home / "runs" / "demo"
    run.mkdir(parents=True)
    model = {"name": base, "license": said}
    recipe = write_recipe(home, model=model, stages=stages, licences=licences or {})
    chain: list[dict[str, Any]] = []
    before, mark = "base", identity
    made = {record["kind"]: record for record in make_inputs().records}
    for number, stage in enumerate(recipe.recipe.stages, start=1):
        record = dict(made.get(stage.kind, made["evaluate"])) | {"kind": stage.kind, "name": stage.name}
        record["fingerprint"] = f"{number}a9c41d07be{number}"
        record["settings"] = stage.settings.model_dump(mode="json")
        record["recipe"] = recipe.resolved
        record["parents"] = [mark]
        record["inputs"] = record["inputs"] | {"model": {"name": before, "fingerprint": mark}}
        folder = begin(run, number=number, kind=stage.kind, fingerprint=record["fingerprint"])
        if stage.kind == "report":
            nothing = {} if "evaluate" in stages else {"metrics": [], "controls": {}, "clean": []}
            expected = {"stages": stages[:-1], "evaluated": list_evaluated(recipe.recipe)}
            inputs = make_inputs(recipe=recipe.resolved, records=chain, **expected, **nothing)
            write_json(folder / "report.json", build_report(inputs))
            record["results"] = {"not_held": list(not_held)}
        if stage.kind == "export":
            record["results"] = {"exported": write_exports(folder), "parity": {}}
        if stage.kind in TRAINING:
            write_weights(folder, stage.name)
            before, mark = stage.name, record["fingerprint"]
        complete(folder, record)
        chain.append(record | {"folder": folder.name})
    current = [{key: record[key] for key in ("name", "kind", "folder", "fingerprint")} for record in chain]
    set_current(run, {"recipe": "demo", "language": "it", "base": base, "stages": current, "model": None})
    return run


def write_recipe(
    home: Path, *, model: Mapping[str, Any], stages: Sequence[str], licences: Mapping[str, str]
) -> Any:
    """Write rows and a recipe of the stages, and the resolved one into the run; return it loaded."""
    entries = []
    for kind in stages:
        settings: dict[str, Any] = {}
        if kind in TRAINING:
            (home / f"{kind}.jsonl").write_text("{}\n", encoding="utf-8")
            licence = {"license": licences[kind]} if kind in licences else {}
            settings = {"data": [{"path": f"{kind}.jsonl", **licence}], "method": "lora"}
        entries.append({kind: settings})
    with (home / "recipe.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"name": "demo", "model": dict(model), "precision": "fp32", "stages": entries}, file)
    loaded = load_recipe(home / "recipe.yaml")
    text = dump_recipe(loaded.recipe, loaded.sources)
    (home / "runs" / "demo" / "recipe.yaml").write_text(text, encoding="utf-8")
    return loaded


def write_weights(folder: Path, stage: str) -> None:
    for part, weights, config in (
        ("model", "model.safetensors", {"config.json": {"model_type": "llama"}, "tokenizer.json": {}}),
        (
            "adapter",
            "adapter_model.safetensors",
            {"adapter_config.json": {"r": 16, "base_model_name_or_path": "/home/rosa/models/base"}},
        ),
    ):
        (folder / part).mkdir()
        (folder / part / weights).write_bytes(f"{part} of {stage}".encode() * 100)
        for name, content in config.items():
            (folder / part / name).write_text(json.dumps(content), encoding="utf-8")


def write_exports(folder: Path) -> dict[str, int]:
    sizes = {}
    for kind in ("f16", "q8_0"):
        path = folder / f"demo-{kind}.gguf"
        path.write_bytes(f"weights as {kind}".encode() * 100)
        sizes[path.name] = path.stat().st_size
    return sizes


def write_base(folder: Path, *, licence: str | None = None, **more: str) -> Path:
    """Write a base model's folder: a card with its licence, if one is given, and the licence's text."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if licence:
        lines = [f"license: {licence}", *(f"{key}: {value}" for key, value in more.items())]
        (folder / "README.md").write_text("---\n" + "\n".join(lines) + "\n---\n# Base\n", encoding="utf-8")
        (folder / "LICENSE").write_text("The terms.\n", encoding="utf-8")
    return folder
