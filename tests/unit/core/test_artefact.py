"""Artefacts: complete only with a record, found by fingerprint, refused after a change."""

from __future__ import annotations

import json
import os

import pytest

from adatta.core import artefact as module
from adatta.core.artefact import (
    begin,
    complete,
    find_complete,
    folder_aside,
    read_artefact,
    read_current,
    remove_model,
    restore_model,
    run_dir,
    set_current,
    verify,
    write_atomic,
    write_json,
)
from adatta.core.errors import ArtefactError, DriftError, IncompleteError

RECORD = {"kind": "sft", "fingerprint": "abc", "name": "sft"}


@pytest.fixture
def folder(tmp_path):
    """The folder of a stage that has written its files and not ended."""
    folder = begin(tmp_path / "run", number=1, kind="sft", fingerprint="abc")
    for name in ("metrics.jsonl", "adapter/weights.bin", "model/model.bin", "checkpoints/1/state.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_run_dir_lies_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))
    assert run_dir("demo") == tmp_path / "runs" / "demo"


def test_begin_again_gives_the_incomplete_folder_also_at_another_place(folder):
    assert folder.name == "01-sft-abc"
    assert begin(folder.parent, number=3, kind="sft", fingerprint="abc") == folder
    assert begin(folder.parent, number=3, kind="sft", fingerprint="abd").name == "03-sft-abd"


def test_begin_anew_takes_the_record_away_and_keeps_the_rest(folder):
    again = {"number": 1, "kind": "sft", "fingerprint": "abc"}
    assert begin(folder.parent, **again, anew=True) == folder  # one that isn't complete
    complete(folder, RECORD)
    with pytest.raises(ArtefactError, match="nothing is overwritten"):
        begin(folder.parent, **again)
    assert begin(folder.parent, **again, anew=True) == folder
    assert (folder / "metrics.jsonl").read_text() == "metrics.jsonl"
    assert find_complete(folder.parent, kind="sft", fingerprint="abc") is None


def test_complete_writes_a_record_of_all_files_but_checkpoints(folder):
    (folder / ".weights.bin.77.tmp").write_text("left by a crash")
    assert find_complete(folder.parent, kind="sft", fingerprint="abc") is None
    artefact = complete(folder, {**RECORD, "time_s": 1.5})
    assert sorted(artefact.record["files"]) == ["adapter/weights.bin", "metrics.jsonl", "model/model.bin"]
    assert json.loads((folder / "record.json").read_text()) == artefact.record
    assert artefact.record["schema"] == 1
    assert not (folder / ".weights.bin.77.tmp").exists()
    assert not (folder / "checkpoints").exists()
    assert find_complete(folder.parent, kind="sft", fingerprint="abc") == artefact == verify(folder)
    assert find_complete(folder.parent, kind="dpo", fingerprint="abc") is None


def test_complete_interrupted_before_the_record_leaves_it_incomplete(folder, monkeypatch):
    def crash(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        complete(folder, RECORD)
    with pytest.raises(IncompleteError, match="run its recipe again"):
        verify(folder)
    assert begin(folder.parent, number=1, kind="sft", fingerprint="abc") == folder


def test_complete_artefacts_are_never_overwritten(folder):
    complete(folder, RECORD)
    with pytest.raises(ArtefactError, match="nothing is overwritten"):
        complete(folder, RECORD)
    with pytest.raises(ArtefactError, match="nothing is overwritten"):
        begin(folder.parent, number=1, kind="sft", fingerprint="abc")


def test_complete_with_the_record_of_another_stage_is_refused(folder):
    with pytest.raises(ArtefactError, match="isn't for"):
        complete(folder, {**RECORD, "fingerprint": "xyz"})


def test_verify_after_changes_names_each_file(folder):
    complete(folder, RECORD)
    (folder / "metrics.jsonl").write_text("other")
    (folder / "adapter" / "weights.bin").unlink()
    with pytest.raises(DriftError) as caught:
        verify(folder)
    assert "adapter/weights.bin is missing; metrics.jsonl changed" in str(caught.value)


def test_verify_after_the_model_was_removed_by_hand_is_drift(folder):
    complete(folder, RECORD)
    (folder / "model" / "model.bin").unlink()
    with pytest.raises(DriftError, match=r"model/model\.bin is missing"):
        verify(folder)


def test_remove_model_keeps_the_artefact_right_and_its_hash(folder):
    artefact = complete(folder, RECORD)
    assert artefact.has_model
    remove_model(artefact, "the next stage is complete")
    remove_model(artefact, "the next stage is complete")
    again = verify(folder)
    assert not again.has_model
    assert "model/model.bin" in again.record["files"]
    assert sorted(os.listdir(folder)) == [
        "adapter",
        "metrics.jsonl",
        "record.json",
        "removed.json",
    ]
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(DriftError, match=r"metrics\.jsonl is missing"):
        verify(folder)


def test_model_made_again_counts_only_when_it_is_the_same(folder):
    artefact = complete(folder, RECORD)
    remove_model(artefact, "the next stage is complete")
    (folder / "model").mkdir()
    (folder / "model" / "model.bin").write_text("half")
    assert not artefact.has_model
    assert verify(folder) == artefact
    with pytest.raises(DriftError, match=r"model/model\.bin changed"):
        restore_model(artefact)
    assert not artefact.has_model
    (folder / "model" / "model.bin").write_text("model/model.bin")
    restore_model(artefact)
    assert artefact.has_model
    (folder / "model" / "model.bin").write_text("changed")
    with pytest.raises(DriftError, match=r"model/model\.bin changed"):
        verify(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2, "files": {}}', '{"schema": 1, "files": []}'])
def test_read_artefact_with_an_unusable_record_is_drift(folder, text):
    (folder / "record.json").write_text(text)
    with pytest.raises(DriftError, match="move the folder away"):
        read_artefact(folder)


def test_write_atomic_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def fail(descriptor):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            write_atomic(path, b"new")
    assert path.read_text() == "old"
    write_atomic(path, b"new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_write_json_of_what_json_cannot_hold_is_refused(tmp_path, value):
    with pytest.raises(ArtefactError, match="finite"):
        write_json(tmp_path / "a.json", {"a": value})
    assert os.listdir(tmp_path) == []


def test_current_names_complete_stages_only(folder):
    run = folder.parent
    with pytest.raises(IncompleteError, match="run its recipe first"):
        read_current(run)
    content = {"base": "m", "stages": [{"name": "sft", "folder": folder.name}]}
    with pytest.raises(IncompleteError):
        set_current(run, content)
    complete(folder, RECORD)
    set_current(run, content)
    assert read_current(run) == {"schema": 1, **content}
    (run / "current.json").write_text("{}")
    with pytest.raises(DriftError):
        read_current(run)


def test_folder_aside_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()

    def stop(aside):
        (aside / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), folder_aside(folder) as aside:
        stop(aside)
    assert list(tmp_path.iterdir()) == []
    with folder_aside(folder) as aside:
        (aside / "whole").touch()
        assert not folder.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "whole"]
