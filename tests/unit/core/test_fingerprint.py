"""Identity depends on content alone, and refuses what has no stable form."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adatta.core import fingerprint as module
from adatta.core.errors import ArtefactError
from adatta.core.fingerprint import (
    canonical_json,
    content_id,
    fingerprint,
    hash_file,
    hash_folder,
    list_id,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_canonical_json_read_back_is_the_value(value):
    assert json.loads(canonical_json(value)) == value


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(TEXT, st.integers(), min_size=2))
def test_fingerprint_with_shuffled_keys_is_the_same(value):
    keys = list(value)
    random.shuffle(keys)
    assert fingerprint({key: value[key] for key in keys}) == fingerprint(value)


@pytest.mark.parametrize("values", [[], [1], [[1, "due", (0.5,)], {"b": 1, "a": None}, "è"]])
def test_list_id_of_values_one_by_one_is_that_of_their_list(values):
    assert list_id(iter(values)) == content_id(values)


def test_content_id_of_known_json_is_its_sha256():
    text = '{"a":[1,2.5,"è"],"b":null}'
    digest = hashlib.sha256(text.encode()).hexdigest()
    value = {"b": None, "a": (1, 2.5, "è")}
    assert canonical_json(value) == text
    assert content_id(value) == digest[:16]
    assert fingerprint(value) == digest[:12]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": float("nan")}, "value.a"),
        ({"a": [0, float("inf")]}, "value.a.1"),
        ({1: "a"}, "key 1"),
        ({"a": {1, 2}}, "set"),
        ({"f": len}, "value.f"),
        ([Path("/tmp")], "value.0"),
        ("half \ud800 pair", "surrogate"),
        (b"bytes", "bytes"),
    ],
)
def test_canonical_json_without_stable_form_names_the_place(value, where):
    with pytest.raises(ArtefactError, match=where):
        canonical_json(value)


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file large enough for the cache, changed long ago."""
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "large.bin"
    path.write_bytes(b"x" * (1 << 20))
    os.utime(path, (1, 1))
    return path


def test_hash_file_second_time_comes_from_the_cache(large, monkeypatch):
    expected = hashlib.sha256(large.read_bytes()).hexdigest()
    assert hash_file(large) == expected
    monkeypatch.setattr(module, "_hash_bytes", lambda path: pytest.fail("read again"))
    assert hash_file(large) == expected


@pytest.mark.parametrize("change", ["time", "size", "inode"])
def test_hash_file_after_a_change_is_new(large, change):
    before = hash_file(large)
    if change == "time":
        large.write_bytes(b"y" * (1 << 20))
    elif change == "size":
        large.write_bytes(b"x" * (1 << 20) + b"y")
        os.utime(large, (1, 1))
    else:
        other = large.with_name("other")
        other.write_bytes(b"y" * (1 << 20))
        os.utime(other, (1, 1))
        other.replace(large)
    assert hash_file(large) != before
    assert hash_file(large) == hashlib.sha256(large.read_bytes()).hexdigest()


def test_hash_file_changed_just_now_is_not_cached(large, tmp_path):
    os.utime(large)
    hash_file(large)
    assert not (tmp_path / "cache").exists()


def test_hash_file_missing_says_what_to_do(tmp_path):
    with pytest.raises(ArtefactError, match="check that it is there"):
        hash_file(tmp_path / "nothing")


def test_hash_folder_depends_on_names_and_contents_of_matches_only(tmp_path):
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "b.md").write_text("2")
    first = hash_folder(tmp_path, ["*.txt"])
    (tmp_path / "b.md").write_text("3")
    assert hash_folder(tmp_path, ["*.txt"]) == first
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    renamed = hash_folder(tmp_path, ["*.txt"])
    assert renamed != first
    (tmp_path / "c.txt").write_text("4")
    assert hash_folder(tmp_path, ["*.txt"]) not in (first, renamed)
    with pytest.raises(ArtefactError, match="no file that matches"):
        hash_folder(tmp_path, ["*.json"])
