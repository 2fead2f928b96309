"""The suites of a recipe: those that its evaluate stages name, and the texts of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adatta.core.errors import RowError
from adatta.core.fingerprint import content_id
from adatta.core.problems import Problems
from adatta.core.recipe import Recipe, Stage
from adatta.core.records import Document, Item
from adatta.core.settings import DataSettings, TextSettings
from adatta.pipeline.prepare import check_structure, open_inputs

if TYPE_CHECKING:
    from adatta.evals.suite import Suite

OWN = "texts"  # what the suite of the user's own texts is called


def load_suites(recipe: Recipe) -> dict[str, tuple[Suite, ...]]:
    """Load the suites of every evaluate stage, by the stage's name.

    Args:
        recipe: its paths lead to files.

    Raises:
        RowError: texts of the user's own have mistakes.
    """
    stages = (stage for stage in recipe.stages if stage.kind == "evaluate")
    return {stage.name: _load(stage, recipe.language) for stage in stages}


def _load(stage: Stage, language: str) -> tuple[Suite, ...]:
    from adatta.evals.suite import load_suite

    named = tuple(map(load_suite, stage.evaluation.suites))
    texts = stage.evaluation.texts
    return (*named, _read_own(texts, language)) if texts else named


def _read_own(texts: Mapping[str, TextSettings], language: str) -> Suite:
    """Read texts as the rows of adapt are read; every mistake is told at once."""
    from adatta.evals.suite import GivenSuite, SuiteTask

    problems = Problems()
    items: dict[str, tuple[Item, ...]] = {}
    for name, settings in texts.items():
        validation = check_structure("document", problems)
        source = DataSettings(path=settings.path, fields=settings.fields)
        items[name] = tuple(
            _make_item(row, name, settings.language or language)
            for given in open_inputs(source, problems, damaged=validation, tolerant=True)
            for row in validation.rows(given)
            if isinstance(row, Document)
        )
    if len(problems):
        raise RowError(problems.shortened(), counts=problems.counts)
    tasks = tuple(
        SuiteTask(name=name, kind="bits_per_byte", language=settings.language or language)
        for name, settings in texts.items()
    )
    return GivenSuite(name=OWN, version=1, tasks=tasks, given=items)


def _make_item(row: Document, name: str, language: str) -> Item:
    item_id = content_id({"text": row.text})
    fields = {"text": row.text, "title": f"{row.origin.path}:{row.origin.line}", "register": name}
    return Item(item_id=item_id, task=name, language=language, cluster_id=item_id, fields=fields)
