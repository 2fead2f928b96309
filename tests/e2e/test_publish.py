"""A toy run on its way to a Hub on this machine: shown, broken off in the third file, gone on with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from adatta.core.artefact import read_current
from adatta.evals import suite
from adatta.pipeline.run import run_recipe
from tests.toys.card_rules import broken_rules
from tests.toys.command import call
from tests.toys.hub_server import READER, TOKEN, Hub, serve_hub
from tests.toys.recipes import write_small_suite, write_toy_recipe

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("small_suite"),
    pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning"),  # huggingface_hub's own
]
LARGE = ("model.safetensors", "tokenizer.json", "toy-q8_0.gguf")


@pytest.fixture(scope="module")
def small_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fewer items than elsewhere: nothing here is about figures."""
    folder = tmp_path_factory.mktemp("bundled")
    write_small_suite(folder, num_items=2, num_chars=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "bundled_dir", lambda: folder)
        yield


@pytest.fixture(scope="module")
def finished(small_suite: None, toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of one training stage, and its base; read only."""
    folder = tmp_path_factory.mktemp("publish")
    shutil.copytree(toy_folder, folder / "toybase")
    (folder / "toybase" / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    path = write_toy_recipe(folder, folder / "toybase")
    recipe = YAML(typ="safe").load(path)
    recipe["stages"] = [stage for stage in recipe["stages"] if not {"dpo", "adapt"} & set(stage)]
    recipe["context"] = 2048  # for the longest items
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(recipe, file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADATTA_HOME", str(folder))
        patch.setenv("ADATTA_CACHE", str(folder / "cache"))
        run_recipe(path)
    return folder


@pytest.fixture
def home(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADATTA_HOME", str(finished))
    monkeypatch.setenv("ADATTA_CACHE", str(finished / "cache"))
    return finished


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as served:
        yield served


def test_dry_run_shows_all_and_asks_nothing(home: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("publish", "toy", "rosa/toy", "--dry-run") == 0
    said = capsys.readouterr().out
    assert hub.calls == []
    for words in (
        *LARGE,
        "tokenizer.json",
        "to rosa/toy, private",
        "license: apache-2.0",
        "nothing was uploaded",
    ):
        assert words in said
    card = said[said.index("---\n") : said.index("nothing was uploaded")]
    assert broken_rules(card) == []
    assert len(ModelCard(card).data.eval_results) > 5


def test_card_is_written_to_a_file(
    home: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("publish", "toy", "rosa/toy", "--dry-run", "--card", str(tmp_path / "card.md")) == 0
    assert "# toy" not in capsys.readouterr().out
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert broken_rules(card) == []
    assert str(home) not in card


def test_upload_that_breaks_off_in_the_third_file_goes_on_with_it(
    home: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.cut_at = 3
    assert call("publish", "toy", "rosa/toy") == 1
    assert "run the command again" in capsys.readouterr().err
    arrived = set(hub.stored)
    assert len(arrived) == 2
    hub.mend()
    assert call("publish", "toy", "rosa/toy") == 0
    assert f"published: {hub.address}/rosa/toy" in capsys.readouterr().out
    assert len(hub.sent) == 1
    assert not arrived & set(hub.sent)
    files = hub.files("rosa/toy")
    assert set(files) >= {*LARGE, "README.md", "config.json", "tokenizer.json", "generation_config.json"}
    (model,) = (home / "runs" / "toy").glob("*-sft-*/model/model.safetensors")
    assert files["model.safetensors"] == model.read_bytes()
    assert not [path for path, content in files.items() if str(home).encode() in content]
    hub.mend()
    assert call("publish", "toy", "rosa/toy") == 0
    assert (hub.sent, hub.sent_small) == ([], [])
    assert hub.repos["rosa/toy"]["private"] is True


def test_command_as_a_user_calls_it(home: Path, hub: Hub, tmp_path: Path) -> None:
    own = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
    command = [sys.executable, "-m", "adatta.cli.main", "publish", "toy", "rosa/toy", "--public"]
    done = subprocess.run(
        [*command, "--formats", "gguf-q8_0"],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"published: {hub.address}/rosa/toy\n")
    assert set(hub.files("rosa/toy")) == {"README.md", "toy-q8_0.gguf", "Modelfile-q8_0"}
    assert hub.repos["rosa/toy"]["private"] is False
    assert TOKEN not in done.stdout + done.stderr


def test_token_is_in_no_file_of_the_run(home: Path, hub: Hub) -> None:
    assert call("publish", "toy", "rosa/toy") == 0
    for path in (home / "runs").rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere", "rosa/toy"), 2, "no such run"),
        (("{home}/toybase", "rosa/toy"), 2, "isn't a run"),
        (("toy", "toy"), 2, "write OWNER/NAME"),
        (("toy", "rosa/--"), 2, "write OWNER/NAME"),
        (("toy", "rosa/toy", "--formats", "gguf-q2"), 2, "asked for: gguf-q2"),
        (("toy", "rosa/toy", "--dry-run", "--card", "nowhere/card.md"), 2, "a folder that is there"),
        (("toy", "rosa/toy", "--dry-run", "--card", "{home}"), 2, "give a file"),
        (("toy", "lino/toy"), 2, "may not write there"),
    ],
)
def test_mistakes_are_told_in_one_message(
    home: Path,
    hub: Hub,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    assert call("publish", *(one.format(home=home) for one in arguments)) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("adatta: ")
    assert "Traceback" not in said
    assert not hub.stored


def test_token_that_may_only_read_is_a_mistake(
    home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    assert call("publish", "toy", "rosa/toy") == 2
    said = capsys.readouterr().err
    assert "may not write there" in said
    assert READER not in said


def test_licence_named_later_trains_nothing_anew(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path / "copy"))
    before = read_current(tmp_path / "copy" / "runs" / "toy")
    overrides = ["stages.sft.data.0.license=cc-by-nc-4.0", "model.license=mit"]
    run_recipe(home / "recipe.yaml", overrides)
    assert capsys.readouterr().out.count("reused") == 4
    assert read_current(tmp_path / "copy" / "runs" / "toy") == before
    assert call("publish", "toy", "rosa/toy", "--dry-run") == 2
    assert "model.license mit: " in capsys.readouterr().err
    run_recipe(home / "recipe.yaml", overrides[:1])
    assert call("publish", "toy", "rosa/toy", "--dry-run") == 0
    assert "license_name: apache-2.0-with-non-commercial-data" in capsys.readouterr().out
