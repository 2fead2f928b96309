"""Settings have their kind's defaults, refuse wrong types, and can't be changed."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from adatta.core import settings as module
from adatta.core.settings import (
    AdapterSettings,
    AdaptSettings,
    BudgetSettings,
    DpoSettings,
    HoldoutSettings,
    OptimizerSettings,
    Settings,
    SftSettings,
    StageEntry,
)

DATA = [{"path": "rows.jsonl"}]
MODELS = [
    model
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
]


@pytest.mark.parametrize(
    ("kind", "lr", "rank", "alpha", "rslora", "warmup"),
    [
        (SftSettings, 2e-4, 16, 8, False, 0.05),
        (DpoSettings, 5e-5, 64, 16, True, 0.1),
        (AdaptSettings, 2e-5, 64, 16, False, 0.05),
    ],
)
@pytest.mark.parametrize(
    "given", [{}, {"optimizer": {"clip": 2.0}, "adapter": {"dropout": 0.1}, "schedule": {}}]
)
def test_defaults_of_a_kind_also_fill_partly_given_blocks(kind, lr, rank, alpha, rslora, warmup, given):
    settings = kind(data=DATA, **given)
    assert settings.optimizer.lr == lr
    assert (settings.adapter.rank, settings.adapter.alpha, settings.adapter.rslora) == (rank, alpha, rslora)
    assert settings.schedule.warmup_share == warmup
    assert settings.optimizer.clip == given.get("optimizer", {}).get("clip", 1.0)
    assert settings.budget.model_dump() == {"epochs": 1}


def test_settings_from_records_keep_them():
    optimizer = OptimizerSettings(lr=1.0)
    assert SftSettings(data=DATA, optimizer=optimizer).optimizer is optimizer


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (BudgetSettings, {}),
        (BudgetSettings, {"tokens": 1, "steps": 1}),
        (BudgetSettings, {"epochs": 0}),
        (HoldoutSettings, {"path": "x", "share": 0.1}),
        (HoldoutSettings, {"share": 1.0}),
        (AdapterSettings, {"rank": 1.5}),
        (AdapterSettings, {"rank": True}),
        (AdapterSettings, {"rank": "16"}),
        (AdapterSettings, {"targets": "q_proj"}),
        (OptimizerSettings, {"lr": float("inf")}),
        (SftSettings, {"data": []}),
        (SftSettings, {"data": DATA, "beta": 0.1}),
        (StageEntry, {}),
        (StageEntry, {"report": {}, "export": {}}),
    ],
)
def test_settings_with_wrong_values_are_refused(model, values):
    with pytest.raises(ValidationError):
        model.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"sft": {"data": DATA, "budget": {"steps": 3}, "holdout": {"path": "h.jsonl"}}},
        {"dpo": {"data": DATA, "adapter": {"targets": ["q_proj"]}}},
        {"evaluate": {"models": ["base"]}},
        {"report": None},
    ],
)
def test_stage_entry_dumped_reads_back_the_same(values):
    entry = StageEntry.model_validate(values)
    assert StageEntry.model_validate(entry.model_dump(mode="json")) == entry
    assert list(entry.model_dump()) == [entry.kind] == list(values)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        AdapterSettings().rank = 2


@pytest.mark.parametrize("model", MODELS)
def test_every_field_is_documented_and_few_are_its_own(model):
    assert issubclass(model, Settings)
    assert all(field.description for field in model.model_fields.values())
    assert len(model.__annotations__) <= 15
