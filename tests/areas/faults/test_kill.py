"""`kill -9` in the middle of each stage: the same command goes on and the chain completes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adatta.core.artefact import read_current, verify
from adatta.core.events import read_metrics
from tests.toys.recipes import write_toy_recipe

pytestmark = pytest.mark.torch

DEADLINE_S = 240
STEPS = 40


def begun(run: Path, kind: str, *files: str) -> bool:
    """Whether a stage has begun to leave its files and has not ended."""
    folders = list(run.glob(f"*-{kind}-*"))
    return any(
        not (folder / "record.json").exists() and all(any(folder.glob(name)) for name in files)
        for folder in folders
    )


def lines_of(run: Path, kind: str) -> int:
    """How many lines the metrics of a stage have."""
    logs = list(run.glob(f"*-{kind}-*/metrics.jsonl"))
    return sum(len(path.read_bytes().splitlines()) for path in logs)


MIDDLE: dict[str, Callable[[Path], bool]] = {
    "sft": lambda run: begun(run, "sft", "metrics.jsonl") and lines_of(run, "sft") > STEPS // 3,
    "sft merge": lambda run: begun(run, "sft", "adapter/*"),
    "dpo": lambda run: begun(run, "dpo", "metrics.jsonl") and lines_of(run, "dpo") > STEPS // 3,
    "adapt": lambda run: begun(run, "adapt", "metrics.jsonl") and lines_of(run, "adapt") > STEPS // 3,
    "evaluate": lambda run: begun(run, "evaluate", "parts/*.parquet"),
    "export": lambda run: begun(run, "export"),
    "report": lambda run: begun(run, "report"),
}


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Run the recipe in a process group of its own."""
    environment = os.environ | {
        "ADATTA_HOME": str(folder),
        "ADATTA_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "adatta.cli.main", "run", str(folder / "recipe.yaml")],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def killed(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed once in the middle of each of its stages, then left alone."""
    folder = tmp_path_factory.mktemp("killed")
    write_toy_recipe(folder, toy_folder, steps=STEPS)
    run, hits = folder / "runs" / "toy", []
    for middle, reached in MIDDLE.items():
        process = start(folder)
        limit = time.monotonic() + DEADLINE_S
        while process.poll() is None and not reached(run) and time.monotonic() < limit:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            hits.append(middle)
        process.wait()
    (folder / "hits.json").write_text(json.dumps(hits), encoding="utf-8")
    assert start(folder).wait() == 0, (folder / "log").read_text(encoding="utf-8")[-2000:]
    return folder


def test_every_stage_was_hit_in_its_middle(killed: Path) -> None:
    assert json.loads((killed / "hits.json").read_text(encoding="utf-8")) == list(MIDDLE)


def test_killed_run_completes_with_right_artefacts(killed: Path) -> None:
    run = killed / "runs" / "toy"
    stages = read_current(run)["stages"]
    assert [stage["kind"] for stage in stages] == ["sft", "dpo", "adapt", "evaluate", "export", "report"]
    for stage in stages:
        verify(run / stage["folder"])
    assert json.loads((run / "report.json").read_text(encoding="utf-8"))["problems"] == []


def test_killed_run_leaves_no_half_written_files(killed: Path) -> None:
    run = killed / "runs" / "toy"
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")]


def test_killed_run_equals_an_undisturbed_one(killed: Path, toy_folder: Path, tmp_path: Path) -> None:
    write_toy_recipe(tmp_path, toy_folder, steps=STEPS)
    assert start(tmp_path).wait() == 0
    chains = [
        {stage["name"]: stage["fingerprint"] for stage in read_current(folder / "runs" / "toy")["stages"]}
        for folder in (killed, tmp_path)
    ]
    assert chains[0] == chains[1]
    logs = [
        read_metrics(next((folder / "runs" / "toy").glob("*-sft-*/metrics.jsonl")))
        for folder in (killed, tmp_path)
    ]
    losses = [[line["loss"] for line in log if "loss" in line] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # fp32 on the same machine
