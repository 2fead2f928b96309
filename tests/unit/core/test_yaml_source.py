"""YAML 1.2 values and their lines; overlays and single replacements."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adatta.core.errors import RecipeError
from adatta.core.yaml_source import Mark, Marked, dotted, leaves, read_yaml

TREE = st.recursive(
    st.integers() | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)


def marked(value):
    if isinstance(value, dict):
        value = {key: marked(part) for key, part in value.items()}
    elif isinstance(value, list):
        value = [marked(part) for part in value]
    return Marked(value, Mark("f"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2.0E-4", 2e-4),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("", None),
        ("010", 10),
        ("0o10", 8),
        ("60_000", 60000),
        ("12:30", "12:30"),
        ("2024-05-14", "2024-05-14"),
        ("'7'", "7"),
        ("è", "è"),
    ],
)
def test_read_yaml_scalar_follows_yaml_1_2(text, value):
    read = read_yaml(f"a: {text}", "f").value["a"]
    assert (read, type(read)) == (value, type(value))


def test_read_yaml_marks_every_place_with_its_line():
    tree = read_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "r.yaml")
    lines = {dotted(place): part.mark.line for place, part in tree.walk()}
    assert lines == {"": 1, "a": 1, "b": 2, "b.0": 3, "b.1": 4, "b.1.c": 4, "b.1.d": 5}
    assert str(tree.nearest_mark(("b", 1, "missing"))) == "r.yaml:4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1,\n c: 2}\na: 3", "r.yaml:3: duplicate key 'b.c'"),
        ("a: 1\nb: {c: 1,\n c: 2}\na: 3", "r.yaml:4: duplicate key 'a'\n    it stands first on line 1"),
        ("a: 1\nb: !!python/name:os x", "r.yaml:2: tag 'python/name:os' at 'b'"),
        ("a: !!int x", "r.yaml:1: 'a' is 'x'"),
        ("a: 1\na: 2\na: 3", "r.yaml:3: duplicate key 'a'\n    it stands first on line 1"),
        ("a: 1\n b: 2", "r.yaml:2: no YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "r.yaml:2: no YAML: but found another document"),
        ("a: \x00", "r.yaml:1: no YAML"),
        ("a: &x [*x]", "r.yaml:1: nested too deeply"),
        ("[a]: 1", "r.yaml:1: a key that is no plain word"),
    ],
)
def test_read_yaml_with_mistakes_names_line_and_mistake(text, message):
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "r.yaml")
    assert message in str(caught.value)


def test_overlaid_merges_mappings_and_replaces_lists_with_marks():
    base = read_yaml("m: {a: 1, b: 2}\nl: [1, 2]\nk: 0", "base")
    over = read_yaml("l: [3]\nm: {b: 5}", "over")
    tree = base.overlaid(over)
    assert tree.value == {"m": {"a": 1, "b": 5}, "l": [3], "k": 0}
    assert {dotted(place): str(tree.nearest_mark(place)) for place in leaves(tree.value)} == {
        "m.a": "base:1",
        "m.b": "over:2",
        "l.0": "over:1",
        "k": "base:3",
    }
    assert ("l", 1) not in dict(tree.walk())
    assert base.value == {"m": {"a": 1, "b": 2}, "l": [1, 2], "k": 0}


@settings(max_examples=40, deadline=None)
@given(TREE)
def test_replaced_at_every_leaf_changes_that_leaf_only(value):
    for place in leaves(value):
        changed = marked(value).replaced(place, Marked("new", Mark("f")))
        assert list(leaves(changed.value)) == list(leaves(value))
        back = changed.replaced(place, marked(_at(value, place)))
        assert back.value == value
        assert _at(changed.value, place) == "new"


def _at(value, place):
    for key in place:
        value = value[key]
    return value


@pytest.mark.parametrize(("place", "bad"), [(("a", "b"), "b"), (("l", 2), 2), (("l", "x"), "x")])
def test_replaced_at_a_place_that_cannot_be_names_it(place, bad):
    tree = read_yaml("a: 1\nl: [1, 2]", "f")
    with pytest.raises(KeyError) as caught:
        tree.replaced(place, Marked(0, Mark("f")))
    assert caught.value.args == (bad,)


def test_replaced_at_missing_mappings_makes_them():
    tree = read_yaml("a:", "f").replaced(("a", "b", "c"), read_yaml("1", "--set", line=0))
    assert tree.value == {"a": {"b": {"c": 1}}}
    assert str(tree.nearest_mark(("a", "b", "c"))) == "--set"
