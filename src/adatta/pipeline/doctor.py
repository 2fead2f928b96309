"""What this machine can do: processor, memory, speed, packages against the tested ones, engines, the Hub."""

from __future__ import annotations

import os
import re
import shutil
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
    from adatta.model.memory import available_bytes

    runtime = describe_runtime("cpu", 1)
    flags = set((proc_field("cpuinfo", "flags") or proc_field("cpuinfo", "Features") or "").split())
    yield Finding("adatta", f"{__version__}, Python {runtime.python}, {runtime.platform}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        "processor", f"{runtime.cpu}, {cores} cores: {_join(each for each in CPU_FLAGS if each in flags)}"
    )
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("memory", f"{total / 2**30:.1f} GiB, {available_bytes() / 2**30:.1f} free")
    folder = next(path for path in (cache_dir(), *cache_dir().absolute().parents) if path.exists())
    yield Finding("disk", f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB free for {cache_dir()}")
    yield from _packages()
    yield Finding("Hub", _within(HUB_WAIT_S, _reach_hub))
    yield Finding("Hub token", _load(_find_token))
    yield Finding("GPU", _load(_find_gpus))
    yield Finding("products", _load(_measure))


def _packages() -> Iterator[Finding]:
    """Compare what is installed with what adatta was tested with, required packages first, then extras."""
    pins = (bundled_dir() / "constraints.txt").read_text(encoding="utf-8").split()
    tested = {_normal(name): version for name, _, version in (pin.partition("==") for pin in pins)}
    needed: dict[str, list[str]] = {"": []}
    for line in metadata.requires("adatta") or ():
        extra = line.partition("extra == ")[2].strip("\"' ")
        needed.setdefault(extra, []).append(re.split(r"[^\w.-]", line)[0])
    yield Finding("packages", _join(_compare(name, tested) for name in needed.pop("")))
    for extra, names in needed.items():
        yield Finding(f"extra {extra}", _join(_compare(name, tested) for name in names))
    there = (name for name in list_names("adatta.model.engines") if _version(_ENGINES.get(name, name)))
    yield Finding("engines", _join(there))


def _compare(name: str, tested: Mapping[str, str]) -> str:
    version, expected = _version(name), tested.get(_normal(name))
    if version is None:
        return f"**{name} missing**"
    if version.partition("+")[0] == expected:  # behind + stands the kind of build
        return f"{name} {version}"
    return f"**{name} {version} (tested: {expected or 'never'})**"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # as PyPI compares names


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
    except (OSError, ValueError) as error:
        return f"{endpoint} can't be reached ({error})"
    return f"{endpoint} answers"


def _find_token() -> str:
    from huggingface_hub import get_token

    return "present" if get_token() else "none (for gated models: `hf auth login`)"


def _within(seconds: float, ask: Callable[[], str]) -> str:
    """Return an answer, or say that there was none in time: looking up a name can't be given a limit."""
    answers: list[str] = []
    thread = Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return answers[0] if answers else f"no answer within {seconds:g} s"


def _load(look: Callable[[], str]) -> str:
    """Return what was found, or which package it can't be told without."""
    try:
        return look()
    except (ImportError, OSError) as error:
        return f"can't be told ({error}): install adatta again, with what it needs"


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
