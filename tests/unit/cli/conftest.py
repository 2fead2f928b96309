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
    from adatta.lang.profile import load_profile
    from tests.toys.exports import write_toy

    folder = tmp_path / "runs" / "prova"
    export = folder / "02-export-abc"
    export.mkdir(parents=True)
    for mixture in ("q8_0", "f16"):
        write_toy(toy_folder, export, mixture, name="prova", system_prompt=load_profile("it").system_prompt)
    stages = [{"kind": "export", "name": "export", "fingerprint": "abc", "folder": export.name}]
    current = {"schema": 1, "language": "it", "stages": stages, "model": None}
    (folder / "current.json").write_text(json.dumps(current))
    return folder
