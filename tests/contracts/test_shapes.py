"""Every shape: its example is told by its keys alone, and becomes the row that our own layout gives."""

from __future__ import annotations

import json
import random
from importlib import resources

import pytest

from adatta.core.records import Conversation, Document, Origin, Preference
from adatta.data.shape import load_shapes, shape_row
from tests.toys.reading import REASONS


def read_example(name):
    """Read the row in the comment at the top of a shape's file."""
    lines = resources.files("adatta.data.shapes").joinpath(f"{name}.yaml").read_text("utf-8").splitlines()
    text = "".join(line.removeprefix("#") for line in lines if line.startswith("#"))
    return json.loads(text[text.index("{") :])


SHAPES = load_shapes()
EXAMPLES = {name: read_example(name) for name in SHAPES}
RECORDS = {"conversation": Conversation, "preference": Preference, "document": Document}
ORIGIN = Origin(path="rows.jsonl", line=1)
JUNK = (None, "", " ", "Ciao", "<think>", 0, 1.5, True, [], [1], {}, {"role": "user"}, {"from": []})


def turns(messages):
    return [{"role": message.role, "content": message.content} for message in messages]


def in_our_form(row):
    """Write a row as our own shapes have it."""
    match row:
        case Conversation():
            return {"messages": turns(row.messages)}
        case Document():
            return {"text": row.text}
    (chosen,), (rejected,) = turns([row.chosen]), turns([row.rejected])
    return {"prompt": turns(row.prompt), "chosen": chosen, "rejected": rejected}


@pytest.mark.parametrize("name", SHAPES)
def test_example_is_told_and_comes_back_from_our_own_layout(name):
    shape = SHAPES[name]
    shaped = shape_row(EXAMPLES[name], shape.kind, origin=ORIGIN)
    assert (shaped.shape, shaped.mistakes, shaped.ignored) == (name, (), ())
    assert isinstance(shaped.row, RECORDS[shape.kind])
    assert shape_row(in_our_form(shaped.row), shape.kind, origin=ORIGIN).row == shaped.row


@pytest.mark.parametrize("name", SHAPES)
def test_foreign_columns_change_nothing_but_are_named(name):
    shape = SHAPES[name]
    columns = {"score": 3.5, "tags": ["a"], "dataset": "x", "id": 7, "prompt_id": "p"}
    shaped = shape_row({**columns, **EXAMPLES[name]}, shape.kind, origin=ORIGIN)
    assert shaped.row == shape_row(EXAMPLES[name], shape.kind, origin=ORIGIN).row
    assert shaped.ignored == ("dataset", "prompt_id", "score", "tags")


@pytest.mark.parametrize("name", SHAPES)
def test_row_of_another_kind_is_named_as_what_it_is(name):
    shape = SHAPES[name]
    for kind in set(RECORDS) - {shape.kind}:
        if any(set(other.keys) <= set(shape.keys) for other in SHAPES.values() if other.kind == kind):
            continue  # it has all that a row of that kind needs: then its content decides
        (mistake,) = shape_row(EXAMPLES[name], kind, origin=ORIGIN).mistakes
        assert mistake.reason == "wrong_kind"
        assert mistake.what == f"a {shape.kind} row where {kind} rows are expected"


@pytest.mark.parametrize("name", SHAPES)
def test_needed_key_without_a_value_is_a_mistake(name):
    shape = SHAPES[name]
    for key in shape.keys:
        shaped = shape_row({**EXAMPLES[name], key: None}, shape.kind, origin=ORIGIN)
        assert shaped.row is None
        assert all(
            mistake.hint and mistake.field and mistake.reason in REASONS for mistake in shaped.mistakes
        )


@pytest.mark.parametrize("name", SHAPES)
def test_junk_is_a_row_or_a_named_mistake_and_never_a_crash(name):
    shape, draw = SHAPES[name], random.Random(name)
    keys = (*shape.keys, *shape.optional, "language", "group")
    good = list(EXAMPLES[name].values())
    for _ in range(300):
        fields = dict(EXAMPLES[name])
        for key in draw.choices(keys, k=2):
            fields[key] = draw.choice((*JUNK, *good, [draw.choice(JUNK), draw.choice(JUNK)]))
        shaped = shape_row(fields, shape.kind, origin=ORIGIN)
        assert (shaped.row is None) == bool(shaped.mistakes)
        for mistake in shaped.mistakes:
            assert mistake.reason in REASONS
            assert mistake.what
            assert mistake.hint
            assert mistake.field
