"""What this machine can do: processor, memory, speed, packages against the tested ones, engines, the Hub."""

from __future__ import annotations

import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from threading import Thread
from typing import NamedTuple

from adatta import __version__
from adatta.core.registry import list_names
from adatta.core.runtime import bundled_dir, cache_dir, describe_runtime, proc_field

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")
"""What makes products fast, as /proc/cpuinfo calls it."""
HUB_WAIT_S = 3.0
NO_TORCH = "can't be told: torch can't be loaded"
_NAME = re.compile(r"[\w.-]+")
_ENGINES = {"llamacpp": "xllamacpp"}  # what brings an engine, where that is called otherwise


class Finding(NamedTuple):
    """A line of the table: what was looked at, and what was found."""

    what: str
    found: str


def examine() -> Iterator[Finding]:
    """Look at this machine; nothing is changed, downloaded or printed that is secret.

    Yields:
        Findings, the slow ones (products, the Hub) last.
    """
    runtime = describe_runtime("cpu", 1)
    flags = set((proc_field("cpuinfo", "flags") or proc_field("cpuinfo", "Features") or "").split())
    yield Finding("adatta", f"{__version__}, Python {runtime.python}, {runtime.platform}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        "processor", f"{runtime.cpu}, {cores} cores: {_join(each for each in CPU_FLAGS if each in flags)}"
    )
    total, free = (
        int((proc_field("meminfo", name) or "0").split()[0]) for name in ("MemTotal", "MemAvailable")
    )
    yield Finding("memory", f"{total / 2**20:.1f} GiB, {free / 2**20:.1f} free" if total else "unknown")
    folder = next(path for path in (cache_dir(), *cache_dir().absolute().parents) if path.exists())
    yield Finding("disk", f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB free for {cache_dir()}")
    yield from _packages()
    yield Finding("Hub", _within(HUB_WAIT_S, _reach_hub))
    yield Finding("Hub token", _find_token())
    yield Finding("GPU", _try_torch(_find_gpus))
    yield Finding("products", _try_torch(_measure))


def _packages() -> Iterator[Finding]:
    """Compare what is installed with what adatta was tested with, required packages first, then extras."""
    tested = dict(
        line.lower().replace("-", "_").split("==")
        for line in (bundled_dir() / "constraints.txt").read_text(encoding="utf-8").split()
    )
    needed: dict[str, list[str]] = {"": []}
    for line in metadata.requires("adatta") or ():
        extra = line.partition("extra == ")[2].strip("\"' ")
        needed.setdefault(extra, []).append(_NAME.match(line)[0])  # type: ignore[index]  # each begins with a name
    yield Finding("packages", _join(_compare(name, tested) for name in needed.pop("")))
    for extra, names in needed.items():
        yield Finding(f"extra {extra}", _join(_compare(name, tested) for name in names))
    there = (name for name in list_names("adatta.model.engines") if _version(_ENGINES.get(name, name)))
    yield Finding("engines", _join(there))


def _compare(name: str, tested: Mapping[str, str]) -> str:
    version, expected = _version(name), tested.get(name.lower().replace("-", "_"))
    if version is None:
        return f"**{name} missing**"
    return (
        f"{name} {version}"
        if version == expected
        else f"**{name} {version} (tested: {expected or 'never'})**"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _reach_hub() -> str:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "offline: HF_HUB_OFFLINE is set"
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_WAIT_S).close()
    except urllib.error.HTTPError as error:
        return f"{endpoint} answers ({error.code})"
    except (OSError, ValueError) as error:
        return f"{endpoint} can't be reached ({error})"
    return f"{endpoint} answers"


def _find_token() -> str:
    if _version("huggingface_hub") is None:
        return "unknown: huggingface_hub is missing"
    from huggingface_hub import get_token

    return "present" if get_token() else "none (for gated models: `hf auth login`)"


def _within(seconds: float, ask: Callable[[], str]) -> str:
    """Return an answer, or say that there was none in time: looking up a name can't be given a limit."""
    answers: list[str] = []
    thread = Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return answers[0] if answers else f"no answer within {seconds:g} s"


def _try_torch(look: Callable[[], str]) -> str:
    try:
        return look()
    except (ImportError, OSError) as error:
        return f"{NO_TORCH} ({error})"


def _find_gpus() -> str:
    import torch

    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return _join(f"{card.name}, {card.total_memory / 2**30:.0f} GiB" for card in found)


def _measure() -> str:
    from adatta.model.precision import PRODUCT_FLOP, measure_products

    seconds = measure_products()
    return _join(f"{name} {PRODUCT_FLOP / took / 1e9:.0f} GFLOP/s" for name, took in seconds.items())


def _join(parts: Iterator[str]) -> str:
    return ", ".join(parts) or "none"
