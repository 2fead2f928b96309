"""A registry holds one constant of each module of a folder."""

from __future__ import annotations

import pytest

from adatta.core.errors import AdattaError
from adatta.core.registry import load_registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules into a new package `NAME.tasks` and returns its dotted name."""

    def write(name, **modules):
        folder = tmp_path / name / "tasks"
        folder.mkdir(parents=True)
        for path in (folder.parent / "__init__.py", folder / "__init__.py"):
            path.write_text("")
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        return f"{name}.tasks"

    monkeypatch.syspath_prepend(tmp_path)
    return write


def test_load_registry_takes_the_constant_under_the_file_name_in_order(package):
    name = package("toy_plugins", second="TASK = 2\nOTHER = 5", first="TASK = 1")
    assert list(load_registry(name).items()) == [("first", 1), ("second", 2)]


def test_load_registry_without_the_constant_names_the_module(package):
    name = package("toy_broken_plugins", first="TASKS = 1")
    with pytest.raises(AdattaError, match=r"toy_broken_plugins\.tasks\.first has no constant TASK"):
        load_registry(name)
