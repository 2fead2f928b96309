"""Field maps against their rows: what no row has is named once, with the nearest key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adatta.data.field_map import find_wrong_names
from adatta.data.turns import Mistake

ROW = {"domanda": "Che ore sono?", "risposta": {"testo": "Le tre."}, "regole": None}
TALK = {"dialogo": {"turni": [{"chi": "utente", "cosa": "Ciao"}, {"chi": "assistente", "cosa": "Ciao!"}]}}


def find(*rows: dict[str, Any], **names: str) -> list[Mistake]:
    return list(find_wrong_names(names, "conversation", records=enumerate(rows, start=1)))


def test_right_names_are_left_alone_and_rows_read_only_until_all_are_found() -> None:
    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        yield 1, {"domanda": "a"}
        yield 2, ROW
        pytest.fail("a third row is read")

    names = {"prompt": "domanda", "completion": "risposta.testo", "system": "regole"}
    assert list(find_wrong_names(names, "conversation", records=rows())) == []


def test_without_a_map_no_row_is_read() -> None:
    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        pytest.fail("a row is read")
        yield

    assert list(find_wrong_names({}, "conversation", records=rows())) == []


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("domande", "domanda"),
        ("Domanda", "domanda"),
        ("risposta.test", "risposta.testo"),
        ("quesito", None),
    ],
)
def test_name_that_no_row_has_is_told_once_with_the_nearest_key(path: str, near: str | None) -> None:
    (mistake,) = find(ROW, ROW, ROW, completion="risposta.testo", prompt=path)
    assert mistake.field == "prompt"
    assert mistake.what == f"no row has {path!r}" + (f"; did you mean {near!r}?" if near else "")
    assert mistake.hint == "keys of the first row: domanda, risposta, regole"


def test_nearest_key_may_stand_in_a_later_row() -> None:
    (mistake,) = find({"a": 1}, {"domande": "b"}, prompt="domanda")
    assert mistake.what.endswith("did you mean 'domande'?")
    assert mistake.hint == "keys of the first row: a"


def test_name_that_some_rows_have_is_no_mistake_of_the_recipe() -> None:
    assert find({"a": 1}, ROW, {"b": 1}, prompt="domanda") == []


def test_names_of_messages_are_looked_for_in_messages() -> None:
    names = {"messages": "dialogo.turni", "role": "chi"}
    assert find(TALK, **names, content="cosa") == []
    (mistake,) = find(TALK, **names, content="cose")
    assert (mistake.field, mistake.what) == ("content", "no message has 'cose'; did you mean 'cosa'?")
    assert mistake.hint == "keys of the first message: chi, cosa"


def test_field_that_the_kind_does_not_have_is_told_without_rows() -> None:
    (mistake,) = find(promt="domanda")
    assert (mistake.field, mistake.what) == ("promt", "conversation rows have no field 'promt'")
    assert "prompt" in mistake.hint


def test_source_without_rows_accuses_no_name() -> None:
    assert find(prompt="domanda") == []


def test_keys_kept_for_the_message_are_bounded() -> None:
    rows = ({f"{number}": 1, f"{number}x": 2} for number in range(3000))
    (mistake,) = find(*rows, {"domande": 1}, prompt="domanda")
    assert mistake.what == "no row has 'domanda'"


@pytest.mark.parametrize("name", ["role", "content"])
def test_names_of_messages_are_told_where_rows_have_none(name: str) -> None:
    (mistake,) = find(ROW, ROW, **{"prompt": "domanda", "completion": "risposta.testo", name: "domanda"})
    assert (mistake.field, mistake.what) == (name, "'domanda' stands for prompt already")
    (mistake,) = find({"domanda": "a"}, **{name: "chi"})
    assert (mistake.field, mistake.what) == (name, "no message has 'chi'")
    assert mistake.hint == "keys of the first message: there is none"


def test_key_that_stands_for_two_texts_is_told_and_may_group_rows_too() -> None:
    (mistake,) = find(ROW, prompt="domanda", completion="domanda")
    assert (mistake.field, mistake.what) == ("completion", "'domanda' stands for prompt already")
    assert find(ROW, group="domanda", prompt="domanda", language="domanda") == []
