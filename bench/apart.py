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
TIMEOUT_S = 3600  # far above what one takes on two quiet cores


def run_apart(script: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Have a program of this folder do what a specification says, and return the result that it prints last.

    This program ends where that one fails.

    Args:
        script: its file.
        spec: what to do; `threads` among it, the computing threads of the process.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(spec["threads"]), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(ROOT / "src")}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec, file)
        file.flush()
        command = [sys.executable, str(ROOT / "bench" / script), file.name]
        try:
            done = subprocess.run(
                command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            sys.exit(f"{' '.join(command)} took more than {TIMEOUT_S} s; is the machine busy?")
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith(RESULT):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix(RESULT))
