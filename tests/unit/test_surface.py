"""What `import adatta` gives: the names of `__all__`, typed; and the examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
from pathlib import Path

import pytest

import adatta
from tests.architecture.source import modules

EXAMPLES = [module.name for module in modules() if ">>>" in module.text]


def list_public(module) -> list[str]:
    """Names that are no modules, and neither private nor the compiler's."""
    return [
        name
        for name, value in vars(module).items()
        if not (name.startswith("_") or name == "annotations" or inspect.ismodule(value))
    ]


def test_public_names_are_those_of_all():
    assert sorted(adatta.__all__) == sorted([*list_public(adatta), "__version__"])


def test_a_name_that_nobody_listed_is_seen(monkeypatch):
    monkeypatch.setattr(adatta, "leak", len, raising=False)
    assert "leak" in list_public(adatta)


def test_types_are_shipped():
    assert (Path(adatta.__file__).parent / "py.typed").exists()
    for name in ("run", "load", "compare"):
        assert inspect.signature(getattr(adatta, name)).return_annotation is not inspect.Signature.empty


@pytest.mark.torch
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_they_say(name: str, toy_folder: Path):
    found = doctest.testmod(importlib.import_module(name), extraglobs={"name": str(toy_folder)})
    assert found.attempted
    assert not found.failed


def test_a_wrong_example_is_seen():
    (example,) = doctest.DocTestFinder().find(">>> 1 + 1\n3\n", "wrong")
    assert doctest.DocTestRunner(verbose=False).run(example, out=lambda text: None).failed


@pytest.mark.torch
def test_run_and_compare_do_what_the_commands_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from adatta.pipeline import measuring, run

    monkeypatch.setattr(run, "run_recipe", lambda path, overrides: (path, overrides))
    monkeypatch.setattr(measuring, "compare_runs", lambda *names: json.dumps(names))
    assert adatta.run("r.yaml", ["seed=3"]) == (Path("r.yaml"), ["seed=3"])
    assert adatta.compare("a", "b") == '["a", "b"]'
