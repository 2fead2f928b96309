"""Measure in rounds: their options and order, median and range of what is done in a second, the result."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from adatta.core.runtime import proc_field

T = TypeVar("T")

ROUNDS = 3
RESULTS = Path(__file__).parent / "results"


def make_parser(about: str, *, quick: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all measurements in rounds have.

    Args:
        about: What is measured; its first line is shown.
        quick: What `--quick` does.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def read_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the options; a quick measurement has one round."""
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    return options


def in_turn(names: Iterable[T], number: int) -> list[T]:
    """List what a round runs, every second round the other way about."""
    return list(names)[:: -1 if number % 2 else 1]


def write_result(name: str, result: object) -> None:
    """Write bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


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
