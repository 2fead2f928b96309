"""The columns of scores.parquet: other programs read them; names and order are fixed."""

from __future__ import annotations

from adatta.evals.scores import SCHEMA

COLUMNS = [
    *("model_fingerprint", "stage", "suite", "suite_version", "task", "language"),
    *("item_id", "item_hash", "cluster_id", "metric", "status", "reason"),
    *(
        "score",
        "log_prob",
        "num_tokens",
        "num_bytes",
        "prompt_hash",
        "output",
        "seed",
        "group",
        "probability",
    ),
]


def test_columns_are_those_of_the_design_in_their_order():
    assert SCHEMA.names == COLUMNS


def test_column_types_are_fixed():
    kinds = {name: str(SCHEMA.field(name).type) for name in COLUMNS}
    numbers = {name: kind for name, kind in kinds.items() if kind != "string"}
    assert numbers == {
        "suite_version": "int64",
        "score": "double",
        "log_prob": "double",
        "num_tokens": "int64",
        "num_bytes": "int64",
        "seed": "int64",
        "probability": "double",
    }


def test_only_what_an_item_may_lack_can_be_null():
    nullable = {name for name in COLUMNS if SCHEMA.field(name).nullable}
    assert nullable == {
        "reason",
        "score",
        "log_prob",
        "num_tokens",
        "num_bytes",
        "prompt_hash",
        "output",
        "group",
        "seed",
        "probability",
    }
