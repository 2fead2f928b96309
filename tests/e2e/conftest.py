"""What several of the tests from end to end stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adatta.evals import suite
from tests.toys.recipes import write_small_suite


@pytest.fixture(scope="module")
def small_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The offline suite with its first items only, texts cut short: a toy model needs no more."""
    folder = tmp_path_factory.mktemp("bundled")
    write_small_suite(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "bundled_dir", lambda: folder)
        yield
