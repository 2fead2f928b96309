"""Where and how a run works: folders, device, threads, memory. Never part of a fingerprint."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PACKAGE_DIR = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a record says about the machine; it may move the last bits, so it is written down.

    `device` is `cpu` or `cuda:N`, `threads` the number of computing threads, `processes` the ranks.
    """

    device: str
    threads: int
    processes: int = 1
    cpu: str
    python: str
    platform: str


def describe_runtime(device: str, threads: int) -> Runtime:
    """Return the runtime of this process on `device` with `threads` computing threads."""
    return Runtime(
        device=device,
        threads=threads,
        cpu=proc_field("cpuinfo", "model name") or platform.processor() or platform.machine(),
        python=platform.python_version(),
        platform=platform.platform(terse=True),
    )


def cache_dir() -> Path:
    """Return the folder for what can be made again (`ADATTA_CACHE`, else `~/.cache/adatta`); not created."""
    return Path(os.environ.get("ADATTA_CACHE") or Path.home() / ".cache" / "adatta").expanduser()


def home_dir() -> Path:
    """Return the folder in which `runs/` lies (`ADATTA_HOME`, else the current folder)."""
    return Path(os.environ.get("ADATTA_HOME") or Path.cwd()).expanduser()


def bundled_dir() -> Path:
    """Return the folder with adatta's own `data/` and `recipes/`: in the wheel, or the checkout's root."""
    installed = _PACKAGE_DIR / "bundled"
    return installed if installed.is_dir() else _PACKAGE_DIR.parents[1]


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process, in bytes, since the last `reset_peak_memory`."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux, bytes on macOS


def reset_peak_memory() -> None:
    """Begin a new measurement of the peak; only Linux can, elsewhere the old one goes on."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        with suppress(PermissionError):  # some containers forbid it
            reset.write_text("5", encoding="ascii")


def proc_field(file: str, name: str) -> str | None:
    """Return the first value of a name in a file of /proc; None where there is none (macOS)."""
    path = Path("/proc") / file
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
