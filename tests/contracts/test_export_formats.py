"""What every format of whole models keeps to: the same model, template and stop ids when it is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adatta.chat.render import Chat
from adatta.core.registry import load_registry
from adatta.model.dialogue import read_gguf_chat
from adatta.model.load import fetch, load_model
from tests.toys.exports import edit_json, make_job
from tests.toys.models import CHAT_TEMPLATE

pytestmark = pytest.mark.torch
FORMATS = {name: form for name, form in load_registry("adatta.export.formats").items() if name != "adapter"}
# How far a toy's log-probs move on average: its weights are large and random, and its rows of 32 and 64 are
# no blocks of 256, so that 4, 5 and 6 bits become 5, 5 and 8.
TOLERANCES = {
    "safetensors": 0.0,
    "gguf_f16": 0.01,
    "gguf_q8_0": 0.1,
    "gguf_q6_k": 0.1,
    "gguf_q5_k_m": 0.5,
    "gguf_q4_k_m": 0.5,
    "gguf_q4_0": 1.0,
}
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
        if family == "mistral":
            edit_json(copy / "config.json", sliding_window=None)
        edit_json(copy / "generation_config.json", eos_token_id=STOP_IDS)
        (copy / "chat_template.jinja").write_text(TEMPLATE)
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
    files = FORMATS[name](make_job(source, tmp_path, name="prova"))
    assert all(file.is_file() and file.is_relative_to(tmp_path) for file in files)
    assert "prova" in str(files[0].relative_to(tmp_path))
    folder, chat = read_back(files)
    ids_1T = torch.tensor([[5, 77, 130, 8, 301, 42, 42, 9]])
    with torch.inference_mode():
        expected, got = (load_model(path)(ids_1T).logits.log_softmax(-1) for path in (source, folder))
    likely = expected > -8  # far down, coarse weights move log-probs without meaning
    assert (got[likely] - expected[likely]).abs().mean() <= TOLERANCES[name]
    assert chat.template == TEMPLATE
    assert set(STOP_IDS) <= set(chat.stop_ids)
    text = "Perché 123  due\r\nspazi? 🌍"
    assert chat.continuation("", text).ids[1:] == Chat.load(source).continuation("", text).ids[1:]
