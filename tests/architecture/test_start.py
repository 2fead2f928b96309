"""What must start without torch does, and every module imports."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.architecture.source import TORCH, modules

LIGHT = ("", "core", "lang", "data", "chat", "pipeline", "cli")

CHECK = """
import importlib, sys
heavy = set({heavy!r})
for name in {names!r}:
    importlib.import_module(name)
    found = heavy & set(sys.modules)
    if found:
        sys.exit(f"{{sys.modules[name].__file__}}:1: importing {{name}} imports {{', '.join(sorted(found))}}")
"""

HELP = """
import sys
sys.argv = ["adatta", "--help"]
from adatta.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
found = {heavy!r} & set(sys.modules)
assert not found, found
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", ["adatta", "adatta.cli.main", "adatta.core.recipe"])
def test_import_alone_leaves_torch_out(name):
    done = _run(CHECK.format(heavy=sorted(TORCH), names=[name]))
    assert done.returncode == 0, done.stderr


def test_import_of_every_light_module_leaves_torch_out():
    names = [
        module.name
        for module in modules()
        if module.package in LIGHT and not module.name.endswith("__main__")
    ]
    assert len(names) > len(LIGHT)
    done = _run(CHECK.format(heavy=sorted(TORCH), names=names))
    assert done.returncode == 0, done.stderr


def test_help_leaves_torch_out():
    done = _run(HELP.format(heavy=TORCH))
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("name", [module.name for module in modules() if module.package in LIGHT])
def test_light_module_imports(name):
    importlib.import_module(name)


@pytest.mark.torch
@pytest.mark.parametrize("name", [module.name for module in modules() if module.package not in LIGHT])
def test_module_imports(name):
    importlib.import_module(name)


def test_fast_tests_are_collected_without_torch(request):
    if request.config.option.markexpr != "not torch":
        pytest.skip("tests marked torch are collected, too")
    assert not TORCH & set(sys.modules)
