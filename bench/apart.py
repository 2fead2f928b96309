"""Run a piece of work in a fresh process, so that its peak memory is its own and no heap is inherited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = "RESULT "
TIMEOUT_S = 1200  # far above what one takes on two quiet cores


def run_apart(spec: dict[str, Any]) -> dict[str, Any]:
    """Do what a specification says by `train_once.py`, and return its result.

    Args:
        spec: what to do; `threads` among it.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec, file)
        file.flush()
        command = [sys.executable, str(ROOT / "bench" / "train_once.py"), file.name]
        return run_command(command, threads=spec["threads"])


def run_command(command: list[str], *, threads: int, cwd: Path = ROOT, **variables: str) -> dict[str, Any]:
    """Run a command whose last line is a result; end this program where it fails.

    Args:
        command: with its arguments.
        threads: computing threads of the process.
        cwd: its working folder.
        **variables: of its environment, besides those of this process.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(ROOT / "src")} | variables
    try:
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"{' '.join(command)} took more than {TIMEOUT_S} s; is the machine busy?")
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith(RESULT):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix(RESULT))
