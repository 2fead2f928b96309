"""A run's folder belongs to one process at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from adatta.core.errors import UserError
from adatta.core.lock import run_lock

HOLD = """
import sys
from adatta.core.lock import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_run_lock_again_after_release_works(tmp_path):
    for _ in range(2):
        with run_lock(tmp_path / "run"):
            assert str(os.getpid()) in (tmp_path / "run" / ".lock").read_text()


def test_run_lock_while_another_process_works_names_it_until_it_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f'"process": {holder.pid}'), run_lock(tmp_path):
            pytest.fail("two processes hold the lock")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with run_lock(tmp_path):
            assert str(os.getpid()) in (tmp_path / ".lock").read_text()
