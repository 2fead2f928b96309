"""A missing optional package names its extra; a broken one shows its own error."""

from __future__ import annotations

import json

import pytest

from adatta.core.errors import MissingExtraError
from adatta.core.extras import require


def test_require_what_is_installed_returns_it():
    assert require("json", "any") is json


@pytest.mark.parametrize("module", ["adatta_missing", "adatta_missing.part"])
def test_require_what_is_missing_names_the_extra(module):
    with pytest.raises(MissingExtraError, match=r"adatta_missing is not installed.*adatta\[gpu\]"):
        require(module, "gpu")


def test_require_what_is_broken_inside_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "toy_broken.py").write_text("import adatta_other_missing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="adatta_other_missing"):
        require("toy_broken", "gpu")
