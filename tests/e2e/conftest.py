"""What several of the tests from end to end stand on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

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


@pytest.fixture(scope="session", autouse=True)
def _short_parity() -> Iterator[None]:
    """Exports are compared on a few prompts and words, which is a few hundred requests less."""
    from adatta.export import parity

    few = partial(parity.check_exports, prompts=parity.PROMPTS[:3], limit=8, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            parity,
            "TEXTS",
            {"it": ["Il mare è calmo.", "La sera è dolce."], "en": ["The sea is calm.", "It is late."]},
        )
        patch.setattr(parity, "check_exports", few)
        yield
