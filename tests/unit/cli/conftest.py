"""A finished toy run to talk to, and nothing of the user's folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))


@pytest.fixture
def run(toy_folder: Path, tmp_path: Path) -> Path:
    """A finished run with both GGUF files, and without the merged model."""
    from adatta.chat.render import Chat
    from adatta.export.formats import gguf_f16, gguf_q8_0
    from adatta.lang.profile import load_profile

    folder = tmp_path / "runs" / "prova"
    export = folder / "02-export-abc"
    export.mkdir(parents=True)
    chat = Chat.load(toy_folder, load_profile("it").system_prompt)
    for form in (gguf_q8_0, gguf_f16):
        form.write(
            toy_folder, export, chat_template=chat.exported_template(), stop_ids=chat.stop_ids, name="prova"
        )
    stages = [{"kind": "export", "name": "export", "fingerprint": "abc", "folder": export.name}]
    current = {"schema": 1, "language": "it", "stages": stages, "model": None}
    (folder / "current.json").write_text(json.dumps(current))
    return folder
