"""What every export format keeps to: the same model, template and stop ids when it is read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adatta.chat.render import Chat
from adatta.core.errors import ExportError
from adatta.core.registry import load_registry
from adatta.model.dialogue import read_gguf_chat
from adatta.model.load import fetch, load_model
from tests.toys.models import CHAT_TEMPLATE

pytestmark = pytest.mark.torch
FORMATS = load_registry("adatta.export.formats")
# How far a toy's log-probs move: its weights are large and random, 16 bits keep 11 of them, 8-bit blocks 7.
TOLERANCES = {"safetensors": 0.0, "gguf_f16": 0.02, "gguf_q8_0": 0.5}
STOP_IDS = (0, 2, 7)
TEMPLATE = "{#- exported -#}" + CHAT_TEMPLATE


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folders(toy_folders: dict[tuple[str, bool], Path], tmp_path_factory: pytest.TempPathFactory):
    """The toys; Mistral without the sliding window that GGUF can't have."""
    out = {}
    for (family, tied), folder in toy_folders.items():
        copy = tmp_path_factory.mktemp("models") / f"{family}-{tied}"
        copy.mkdir()
        for file in folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        config = json.loads((copy / "config.json").read_text())
        if family == "mistral":
            config["sliding_window"] = None
            (copy / "config.json").write_text(json.dumps(config))
        out[family, tied] = copy
    return out


def read_back(files: list[Path]) -> tuple[Path, Chat]:
    """Return a model folder and the chat format of an export."""
    main = next((file for file in files if file.suffix == ".gguf"), files[0].parent)
    chat = read_gguf_chat(main) if main.is_file() else Chat.load(main)
    return fetch(str(main)).folder, chat


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_export_read_back_is_the_same_model(
    folders, tmp_path: Path, name: str, family: str, tied: bool
) -> None:
    source = folders[family, tied]
    files = FORMATS[name](source, tmp_path, chat_template=TEMPLATE, stop_ids=STOP_IDS, name="prova")
    assert all(file.is_file() and "prova" in str(file.relative_to(tmp_path)) for file in files)
    folder, chat = read_back(files)
    ids_1T = torch.tensor([[5, 77, 130, 8, 301, 42, 42, 9]])
    with torch.inference_mode():
        expected, got = (load_model(path)(ids_1T).logits.log_softmax(-1) for path in (source, folder))
    likely = expected > -8  # far down, 8-bit weights move log-probs without meaning
    torch.testing.assert_close(got[likely], expected[likely], atol=TOLERANCES[name], rtol=0)
    assert chat.template == TEMPLATE
    assert set(STOP_IDS) <= set(chat.stop_ids)
    text = "Perché 123  due\r\nspazi? 🌍"
    assert chat.continuation("", text).ids[1:] == Chat.load(source).continuation("", text).ids[1:]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_export_without_the_end_of_turn_among_stop_ids_is_refused(folders, tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match=r"<\|im_end\|>.*not among the stop ids"):
        FORMATS[name](folders["llama", True], tmp_path, chat_template=TEMPLATE, stop_ids=(0,), name="prova")
