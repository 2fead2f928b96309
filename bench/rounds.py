"""Time a piece of work in three rounds: median and range of what is done in a second."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adatta.core.runtime import proc_field

ROUNDS = 3


def peak_bytes() -> int:
    """Return this program's highest memory; `ru_maxrss` would begin with that of the process it came from."""
    peak = proc_field("self/status", "VmHWM")
    return 1024 * int(peak.split()[0]) if peak else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> int:
    """Let this program's highest memory begin anew, and return what it holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes()


def time_rounds(work: Callable[[], object], num: int) -> dict[str, Any]:
    """Do some work three times.

    Args:
        work: What is timed.
        num: How much of it there is, such as rows.

    Returns:
        `median` and `range` of `num` a second; `n` and `rounds`.
    """
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return summarise([num / each for each in seconds], num)


def summarise(rates: list[float], num: int) -> dict[str, Any]:
    """Return the median and the range of some rates."""
    ends = [round(min(rates)), round(max(rates))]
    return {"median": round(statistics.median(rates)), "range": ends, "n": num, "rounds": len(rates)}
