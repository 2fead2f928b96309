"""`adatta chat` on a toy: a run through its GGUF file, a file, a folder; one answer or a conversation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adatta.chat.render import Chat
from adatta.cli.main import build_app
from adatta.core.records import Message
from adatta.lang.profile import load_profile
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import LlamaCppEngine
from tests.toys.exports import write_toy

pytestmark = pytest.mark.torch
runner = CliRunner()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))
    monkeypatch.setattr("adatta.model.engines.llamacpp._num_cores", lambda: 1)


@pytest.fixture
def run(toy_folder: Path, tmp_path: Path) -> Path:
    """A finished run with both GGUF files, and without the merged model."""
    folder = tmp_path / "runs" / "prova"
    export = folder / "02-export-abc"
    export.mkdir(parents=True)
    prompt = load_profile("it").system_prompt
    for mixture in ("q8_0", "f16"):
        write_toy(toy_folder, export, mixture, name="prova", system_prompt=prompt)
    stages = [{"kind": "export", "name": "export", "fingerprint": "abc", "folder": export.name}]
    current = {"schema": 1, "language": "it", "stages": stages, "model": None}
    (folder / "current.json").write_text(json.dumps(current))
    return folder


def talk(*arguments: str, lines: str = "") -> tuple[str, str]:
    result = runner.invoke(build_app(), ["chat", *arguments], input=lines, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, result.stderr


def expected(chat: Chat, path: Path, *messages: Message, limit: int = 12) -> str:
    with LlamaCppEngine(path, context=512) as engine:
        sampling = Sampling(stop_ids=chat.stop_ids, limit=limit, seed=0)
        return chat.decode(list(engine.stream(chat.prompt(messages), sampling)))


def test_once_on_a_run_answers_from_its_f16_file_with_the_profile(run: Path, toy_folder: Path) -> None:
    out, err = talk(str(run), "--once", "Chi sei?", "--max-new-tokens", "12")
    chat = Chat.load(toy_folder, load_profile("it").system_prompt)
    file = next(run.rglob("*-f16.gguf"))
    assert out == expected(chat, file, Message(role="user", content="Chi sei?")) + "\n"
    assert err in ("", "adatta: the answer was cut off by --max-new-tokens or the context\n")


def test_system_replaces_the_run_s_own(run: Path, toy_folder: Path) -> None:
    out, _ = talk("prova", "--once", "Chi sei?", "--max-new-tokens", "12", "--system", "Sii breve.")
    messages = [Message(role="system", content="Sii breve."), Message(role="user", content="Chi sei?")]
    assert out == expected(Chat.load(toy_folder), next(run.rglob("*-f16.gguf")), *messages) + "\n"


def test_same_seed_gives_the_same_answer(run: Path) -> None:
    arguments = ("prova", "--once", "Ciao", "--temperature", "1.5", "--max-new-tokens", "12")
    assert talk(*arguments, "--seed", "3") == talk(*arguments, "--seed", "3")
    assert len({talk(*arguments, "--seed", str(seed))[0] for seed in range(4)}) > 1


def test_conversation_passes_over_empty_lines_and_ends_with_exit(run: Path) -> None:
    file = str(next(run.rglob("*-q8_0.gguf")))
    out, _ = talk(file, "--max-new-tokens", "4", lines="Uno\n\n   \nDue\n/exit\nTre\n")
    one, _ = talk(file, "--max-new-tokens", "4", lines="Uno\n/reset\nUno\n")
    assert out.startswith(one[: len(one) // 2].removesuffix("\n"))
    half = one.removesuffix("\n")  # the line that the end of the input leaves
    assert half[: len(half) // 2] == half[len(half) // 2 :]


def test_conversation_over_the_context_is_told_and_goes_on(run: Path) -> None:
    _, err = talk("prova", "--max-new-tokens", "4", lines="parola " * 400 + "\nCiao\n")
    assert "no longer fits into the model's context of 512" in err


def test_folder_answers_through_transformers(toy_folder: Path, run: Path) -> None:
    out, _ = talk(str(toy_folder), "--once", "Chi sei?", "--max-new-tokens", "4")
    chat = Chat.load(toy_folder)
    file = next(run.rglob("*-f16.gguf"))
    assert out == expected(chat, file, Message(role="user", content="Chi sei?"), limit=4) + "\n"


def test_run_without_gguf_speaks_with_the_profile(run: Path, toy_folder: Path) -> None:
    with_file, _ = talk("prova", "--once", "Chi sei?", "--max-new-tokens", "4")
    shutil.copytree(toy_folder, run / "01-sft-abc" / "model")
    current = {"schema": 1, "language": "it", "stages": [], "model": "01-sft-abc/model"}
    (run / "current.json").write_text(json.dumps(current))
    assert talk("prova", "--once", "Chi sei?", "--max-new-tokens", "4")[0] == with_file


def test_run_with_its_model_speaks_through_a_file_whose_tokenizer_is_not_read(tmp_path: Path) -> None:
    """SentencePiece tokenizers are written as GGUF, and not read from it."""
    from tests.toys.tokenizers import write_kind

    run = tmp_path / "runs" / "gemma"
    folder = write_kind(run / "01-sft-abc" / "model", "gemma")
    prompt = load_profile("it").system_prompt
    (run / "02-export-abc").mkdir()
    file = write_toy(folder, run / "02-export-abc", name="prova", system_prompt=prompt)
    stages = [{"kind": "export", "name": "export", "fingerprint": "abc", "folder": "02-export-abc"}]
    current = {"schema": 1, "language": "it", "stages": stages, "model": "01-sft-abc/model"}
    (run / "current.json").write_text(json.dumps(current))
    out, _ = talk("gemma", "--once", "Chi sei?", "--max-new-tokens", "6")
    assert (
        out
        == expected(Chat.load(folder, prompt), file, Message(role="user", content="Chi sei?"), limit=6) + "\n"
    )
