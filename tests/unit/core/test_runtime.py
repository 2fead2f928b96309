"""Folders come from the environment; memory is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adatta.core.runtime import (
    bundled_dir,
    cache_dir,
    describe_runtime,
    home_dir,
    peak_memory_bytes,
    reset_peak_memory,
)


def test_folders_with_environment_are_those(monkeypatch, tmp_path):
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path / "h"))
    assert (cache_dir(), home_dir()) == (tmp_path / "c", tmp_path / "h")


def test_folders_without_environment_have_defaults(monkeypatch, tmp_path):
    monkeypatch.delenv("ADATTA_CACHE", raising=False)
    monkeypatch.delenv("ADATTA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert (cache_dir(), home_dir()) == (tmp_path / ".cache" / "adatta", tmp_path)


def test_bundled_dir_holds_data_and_recipes():
    assert (bundled_dir() / "data").is_dir()
    assert (bundled_dir() / "recipes").is_dir()


def test_describe_runtime_names_the_machine():
    runtime = describe_runtime("cpu", 2)
    assert (runtime.device, runtime.threads, runtime.processes) == ("cpu", 2, 1)
    assert runtime.cpu
    assert runtime.python == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can reset the peak")
def test_peak_memory_after_reset_forgets_what_was_freed():
    block = bytearray(b"x" * (64 << 20))
    high = peak_memory_bytes()
    assert high > len(block)
    del block
    reset_peak_memory()
    assert peak_memory_bytes() < high
