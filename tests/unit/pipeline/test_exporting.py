"""Exporting a model by its name: what an adapter is said to stand on, wherever the model comes from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from adatta.core.artefact import begin, complete, set_current
from adatta.core.errors import ParityError
from adatta.export import parity
from adatta.model.files import locate
from adatta.pipeline.exporting import export_named_model
from tests.toys.exports import edit_json, write_chain

pytestmark = pytest.mark.torch
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def few_texts(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "TEXTS", {"it": ["Il mare è calmo.", "La sera è dolce."]})


@pytest.fixture(scope="module")
def chain(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    return write_chain(tmp_path_factory.mktemp("chain"), toy_folder)


@pytest.fixture
def adapter(chain: tuple[list[Path], list[Path]], work: Path) -> Path:
    """The first adapter, whose base is called as a test says."""
    return Path(shutil.copytree(chain[1][0], work / "learnt"))


def export_adapter(model: str, out: Path) -> dict[str, Any]:
    """Export a model as an adapter and return what its configuration says."""
    export_named_model(model, out, formats=("adapter",), language="it")
    (config,) = out.glob("*-adapter/adapter_config.json")
    return dict(json.loads(config.read_text(encoding="utf-8")))


def test_base_beside_an_adapter_is_named_so_that_it_is_found_from_elsewhere(
    adapter: Path, work: Path, toy_folder: Path
) -> None:
    base = Path(shutil.copytree(toy_folder, work / "base"))
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="../base")
    told = export_adapter("learnt", work / "far" / "away")
    assert (told["base_model_name_or_path"], told["revision"]) == (str(base.resolve()), None)
    assert locate(str(work / "far/away/learnt-adapter")).folder == base.resolve()


def test_base_on_the_hub_is_named_with_its_commit(
    adapter: Path, work: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(work / "hub"))
    root = work / "hub" / "models--owner--base"
    shutil.copytree(toy_folder, root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "tried").write_text(COMMIT)
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="owner/base", revision="tried")
    told = export_adapter("learnt", work / "out")
    assert (told["base_model_name_or_path"], told["revision"]) == ("owner/base", COMMIT)
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="owner/base@tried", revision=None)
    told = export_adapter("learnt", work / "out")
    assert (told["base_model_name_or_path"], told["revision"]) == ("owner/base", COMMIT)


def test_run_on_an_adapter_becomes_one_adapter_on_the_adapters_base(
    chain: tuple[list[Path], list[Path]], adapter: Path, work: Path, toy_folder: Path
) -> None:
    merged, adapters = chain
    run = work / "runs" / "demo"
    folder = begin(run, number=1, kind="sft", fingerprint="abc")
    shutil.copytree(adapters[1], folder / "adapter")
    shutil.copytree(merged[1], folder / "model")
    recipe = {"model": {"name": "learnt", "revision": None}}
    complete(folder, {"kind": "sft", "fingerprint": "abc", "recipe": recipe})
    stages = [{"kind": "sft", "folder": folder.name}]
    set_current(run, {"stages": stages, "base": "learnt", "model": f"{folder.name}/model"})
    told = export_adapter("demo", work / "out")
    assert (told["base_model_name_or_path"], told["r"]) == (str(toy_folder), 6)
    shutil.copytree(adapters[1], adapter, dirs_exist_ok=True)  # another adapter than it was trained on
    with pytest.raises(ParityError, match="adapter, prompt"):
        export_adapter("demo", work / "out")
