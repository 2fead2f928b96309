"""One process at a time: in a run's folder, and in making what the cache lacks."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from adatta.core.artefact import folder_aside
from adatta.core.errors import UserError


@contextmanager
def run_lock(run_dir: str | Path) -> Iterator[None]:
    """Hold a run's folder; the system lets it go however the process ends.

    Raises:
        UserError: if another process holds it, with its id and since when.
    """
    path = Path(run_dir) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process works in {run_dir} ({path.read_text(encoding='utf-8') or 'just begun'}); "
                "wait until it ends, or stop it and run again"
            ) from error
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(json.dumps({"process": os.getpid(), "host": platform.node(), "since": since}))
        file.flush()
        yield


def make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`; if it isn't there, have `make` fill an empty one, which then becomes it.

    One process makes it, others wait; what a killed one left is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with folder_aside(folder) as aside:
                make(aside)
    return folder
