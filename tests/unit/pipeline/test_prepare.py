"""The rows of a stage: each one in is used, held out, put aside or not drawn; nothing gets lost."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adatta.core.errors import DataError, RowError, TemplateError
from adatta.core.recipe import Recipe, Stage
from adatta.core.records import TokenRow
from adatta.pipeline import prepare
from adatta.pipeline.prepare import StageRows, prepare_stage
from tests.toys.byte_chat import PREFIX_ID, STOP_ID, ByteChat

TOPICS = ("il pane", "il mare", "la neve", "il vino", "la scuola", "il treno", "la luna", "il riso")


class Chat(ByteChat):
    """Conversations as bytes: a token for each, and one at the start and after every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.num_rendered = 0

    def conversation(self, row, thoughts="drop", *, answers="all"):
        self.num_rendered += 1
        if "refuse me" in row.messages[0].content:
            raise TemplateError("the template refuses it")
        ids, weights = [PREFIX_ID], [0.0]
        for message in row.messages:
            content = message.content.encode()
            is_answer = message.role == "assistant" and (answers == "all" or message is row.messages[-1])
            ids += [*content, STOP_ID]
            weights += [float(is_answer)] * len(content) + [float(is_answer)]
        return (TokenRow(ids=tuple(ids), weights=tuple(weights), row_id=row.row_id),)


def said(question: str, answer: str, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **more}


def good(number: int, word: str = "numero") -> dict[str, object]:
    topic = f"{TOPICS[number % len(TOPICS)]} {word} {number}"
    return said(
        f"Parlami di {topic}.", f"Volentieri: {topic} è importante, e {'molto ' * (number % 7)}lo sai."
    )


def write(path: Path, *rows: object) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def make(data: list[dict[str, object]], top: dict[str, object] | None = None, **sft: object) -> StageRows:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "model": {"name": "m"},
            "context": 600,
            **(top or {}),
            "stages": [{"sft": {"data": data, **sft}}],
        }
    )
    (stage,) = recipe.stages
    return prepare_stage(stage, recipe, Chat())  # type: ignore[arg-type]


def ids_of(groups: Iterable[tuple[TokenRow, ...]]) -> list[str]:
    return [group[0].row_id for group in groups]


def test_good_rows_are_used_or_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)))
    rows = make([{"path": path}])
    counts = rows.counts()
    assert (counts["rows"], counts["used"], counts["holdout"]) == (40, 32, 8)
    assert not set(ids_of(rows.train)) & set(ids_of(rows.holdout))
    assert rows.warnings == ()
    (source,) = rows.sources
    assert (source["rows"], source["shapes"]) == (40, {"messages": 40})
    assert rows.data_hashes() == (source["sha256"],)
    answers = sum(
        len(json.loads(line)["messages"][1]["content"].encode())
        for line in Path(path).read_text(encoding="utf-8").splitlines()
    )
    scored = counts["scored_tokens"] - counts["used"]  # without the ends of turn
    assert scored + rows.holdout_bytes == answers
    assert rows.validation["structure"]["rows"] == rows.validation["meaning"]["kept"] == 40


@pytest.mark.parametrize(
    ("holdout", "asked"), [({}, None), ({"min_rows": 8}, 8), ({"share": 0.5}, 15), ({"min_rows": 6}, None)]
)
def test_fewer_rows_held_out_than_the_recipe_asks_for_are_told(
    tmp_path: Path, holdout: dict[str, float], asked: int | None
) -> None:
    rows = make([{"path": write(tmp_path / "a.jsonl", *map(good, range(30)))}], holdout=holdout)
    assert rows.counts()["holdout"] == 6
    told = f"sft: 6 rows held out instead of {asked}: at most a fifth can be"
    assert rows.warnings == ((told,) if asked else ())


BAD = ["{broken", said("Ciao", ""), said("Ciao, perchÃ©?", "Boh"), said("refuse me", "no"), good(3)]


def test_quarantined_rows_are_counted_written_and_their_loss_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)), *BAD)
    rows = make([{"path": path}], {"on_bad_row": "quarantine", "max_bad_share": 0.2})
    counts = rows.counts()
    assert counts["rows"] == 45 == sum(counts[k] for k in ("used", "holdout", "quarantined", "not_drawn"))
    reasons = ("broken_json", "empty", "mojibake", "template", "duplicate")
    assert dict(rows.quarantine.reasons) == dict.fromkeys(reasons, 1)
    lines = [json.loads(line) for line in rows.quarantine.content().decode().splitlines()]
    assert sorted(line["where"] for line in lines) == [f"{path}:{number}" for number in range(41, 46)]
    assert rows.validation["both"]["kept"] == 40
    lost = len("Boh") + 1 + len(str(good(3)["messages"][1]["content"]).encode()) + 1
    assert counts["lost_scored_tokens"] == lost
    read = {line["reason"]: line["fields"] for line in lines}
    assert read["broken_json"] == "{broken"
    without_tokens = (read["empty"], read["template"])
    texts = (json.dumps(fields, ensure_ascii=False) for fields in without_tokens)
    assert counts["lost_bytes"] == len("{broken") + sum(len(text.encode()) for text in texts)
    (warning,) = rows.warnings
    assert warning.startswith(
        "sft: 5 rows are put aside in the stage's quarantine.jsonl: broken_json 1, empty 1"
    )


def test_bad_rows_are_an_error_with_a_table_and_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)), *BAD, *["{"] * 30)
    with pytest.raises(RowError) as caught:
        make([{"path": path}])
    assert len(caught.value.problems) == 21
    assert caught.value.counts["broken_json"] == 31
    said_lines = str(caught.value).splitlines()
    assert said_lines[0].startswith(f"{path}:41: broken JSON")
    assert said_lines[1].split()[0] == "broken_json"
    empty = next(number for number, line in enumerate(said_lines) if line.startswith(f"{path}:42: "))
    assert said_lines[empty + 1].split()[:2] == ["empty", "messages.2.content"]
    assert "... and 15 more problems" in said_lines
    assert ["31", "broken_json"] in [line.split() for line in said_lines]


def test_more_bad_rows_than_the_limit_fail_and_say_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(18)), "{", "{")
    assert make([{"path": path}], {"on_bad_row": "quarantine", "max_bad_share": 0.1}).quarantine.rows == 2
    with pytest.raises(RowError, match=r"2 of 20 rows are bad \(10\.0%\), max_bad_share is 9\.0%"):
        make([{"path": path}], {"on_bad_row": "quarantine", "max_bad_share": 0.09})


def test_rows_missing_behind_a_damage_count_as_bad(tmp_path: Path) -> None:
    rows = [good(number) for number in range(40)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10, use_dictionary=False)
    content = bytearray(path.read_bytes())
    begin = pq.read_metadata(path).row_group(3).column(0).data_page_offset
    content[begin : begin + 40] = b"\xff" * 40
    path.write_bytes(content)
    found = make([{"path": str(path)}], {"on_bad_row": "quarantine", "max_bad_share": 0.25})
    counts = found.counts()
    assert (counts["rows"], counts["quarantined"], counts["used"] + counts["holdout"]) == (40, 10, 30)
    assert found.quarantine.reasons == {"unreadable": 10}
    with pytest.raises(RowError, match=r"10 of 40 rows are bad \(25\.0%\)"):
        make([{"path": str(path)}], {"on_bad_row": "quarantine", "max_bad_share": 0.2})


@pytest.mark.parametrize(("on_bad_row", "on_overlong"), [("error", "quarantine"), ("quarantine", "error")])
def test_overlong_rows_go_where_their_own_setting_says(
    tmp_path: Path, on_bad_row: str, on_overlong: str
) -> None:
    long = said("Racconta.", "Una parola dopo l'altra, ancora una volta. " * 20)
    path = write(tmp_path / "a.jsonl", *map(good, range(40)), long)
    top = {"on_bad_row": on_bad_row, "on_overlong": on_overlong}
    if on_overlong == "error":
        with pytest.raises(RowError, match=r"a\.jsonl:41: .*\d+ tokens, the context has 600"):
            make([{"path": path}], top)
    else:
        rows = make([{"path": path}], top)
        assert dict(rows.quarantine.reasons) == {"too_long": 1}
        assert rows.quarantine.losses()["lost_scored_tokens"] == len(long["messages"][1]["content"]) + 1


def make_kind(kind: str, path: str, **top: object) -> StageRows:
    stage = {kind: {"data": [{"path": path}]}}
    recipe = Recipe.model_validate(
        {"name": "r", "model": {"name": "m"}, "language": "it", **top, "stages": [stage]}
    )
    return prepare_stage(recipe.stages[0], recipe, Chat())  # type: ignore[arg-type]


def text_of(number: int) -> dict[str, str]:
    return {"text": f"Il paese numero {number} sta {TOPICS[number % 8]} e {'molto ' * (number % 5)}lontano."}


LONG_TEXT = {"text": " ".join(f"La via {number} porta al mare." for number in range(50))}


def test_overlong_text_is_an_error_with_its_tokens(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(text_of, range(40)), LONG_TEXT)
    num_tokens = len(LONG_TEXT["text"].encode()) + 2
    with pytest.raises(RowError, match=rf"a\.jsonl:41: {num_tokens} tokens, the context has 200") as caught:
        make_kind("adapt", path, context=200, on_bad_row="quarantine")
    assert "on_overlong" in str(caught.value)
    assert make_kind("adapt", path, context=num_tokens).counts()["used"] == 33


def test_overlong_text_is_put_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(text_of, range(40)), LONG_TEXT)
    rows = make_kind("adapt", path, context=200, on_overlong="quarantine")
    counts = rows.counts()
    assert (counts["rows"], counts["quarantined"], counts["split"], rows.longest <= 200) == (41, 1, 0, True)
    assert dict(rows.quarantine.reasons) == {"too_long": 1}
    assert counts["lost_scored_tokens"] == len(LONG_TEXT["text"].encode()) + 1


def test_overlong_texts_are_split_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(text_of, range(40)), LONG_TEXT)
    whole = make_kind("adapt", path, context=5000)
    rows = make_kind("adapt", path, context=100, on_overlong="split")
    num_bytes = [len(row["text"].encode()) + 2 for row in (*map(text_of, range(40)), LONG_TEXT)]
    counts = rows.counts()
    assert (counts["rows"], counts["quarantined"]) == (41, 0)
    assert counts["split"] == sum(length > 100 for length in num_bytes) == 1
    assert (rows.longest, whole.counts()["split"]) == (100, 0)
    assert counts["scored_tokens"] == whole.counts()["scored_tokens"], "each token is learnt once"


def talk_of(*lengths: int, system: str = "") -> dict[str, object]:
    """A conversation of turns with answers of some lengths."""
    messages = [{"role": "system", "content": system}] if system else []
    for number, length in enumerate(lengths, start=1):
        answer = f"Risposta {number}: {'e ancora ' * (length // 9)}"[:length]
        messages += [
            {"role": "user", "content": f"Domanda {number}?"},
            {"role": "assistant", "content": answer},
        ]
    return {"messages": messages}


def test_overlong_conversation_is_split_before_questions(tmp_path: Path) -> None:
    talk = talk_of(100, 120, 90, 110, 130, system="Sii breve.")
    path = write(tmp_path / "a.jsonl", *map(good, range(40)), talk)
    rows = make([{"path": path}], {"context": 300, "on_overlong": "split"}, holdout={"share": 0.0})
    counts = rows.counts()
    assert (counts["rows"], counts["used"], counts["split"], counts["quarantined"]) == (41, 41, 1, 0)
    group = rows.train[-1]
    assert [branch.branch for branch in group] == [0, 1, 2]
    assert {branch.row_id for branch in group} == {group[0].row_id}
    texts = [bytes(token for token in branch.ids if token < 256).decode() for branch in group]
    asked = [[f"Domanda {n}?" in text for n in range(1, 6)] for text in texts]
    assert asked == [
        [True, True, False, False, False],
        [False, False, True, False, False],
        [False] * 3 + [True] * 2,
    ]
    assert all(text.startswith("Sii breve.Domanda") for text in texts)
    assert max(len(branch.ids) for branch in group) <= 300
    answers = [message["content"] for message in talk["messages"] if message["role"] == "assistant"]
    scored = sum(weight > 0 for branch in group for weight in branch.weights)
    assert scored == sum(len(answer) + 1 for answer in answers), "each answer is learnt once"


def test_the_part_with_the_last_answer_is_kept_where_only_that_is_learnt(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)), talk_of(100, 120, 90, 110, 130))
    top = {"context": 300, "on_overlong": "split"}
    rows = make([{"path": path}], top, answers="last", holdout={"share": 0.0})
    (branch,) = rows.train[-1]
    text = bytes(token for token in branch.ids if token < 256).decode()
    assert [f"Domanda {n}?" in text for n in range(1, 6)] == [False] * 3 + [True] * 2
    assert sum(weight > 0 for weight in branch.weights) == 130 + 1
    assert rows.counts()["split"] == 1


@pytest.mark.parametrize("on_bad_row", ["error", "quarantine"])
def test_what_cannot_be_split_is_a_bad_row(tmp_path: Path, on_bad_row: str) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)), talk_of(50, 700))
    top = {"context": 600, "on_overlong": "split", "on_bad_row": on_bad_row}
    if on_bad_row == "error":
        with pytest.raises(RowError, match=r"a\.jsonl:41: \d+ tokens, the context has 600"):
            make([{"path": path}], top)
    else:
        assert dict(make([{"path": path}], top).quarantine.reasons) == {"too_long": 1}


def test_weights_and_numbers_mix_sources_and_no_row_stands_on_both_sides(tmp_path: Path) -> None:
    data = [
        {"path": write(tmp_path / "a.jsonl", *map(good, range(40))), "weight": 0.5},
        {"path": write(tmp_path / "b.jsonl", *(good(n, "pari") for n in range(30))), "weight": 2.0},
        {"path": write(tmp_path / "c.jsonl", *(good(n, "dispari") for n in range(30))), "rows": 10},
    ]
    rows = make(data)
    counts = rows.counts()
    assert counts["rows"] == 100
    assert counts["not_drawn"] == 40
    assert counts["used"] + counts["holdout"] == 60
    times = Counter(ids_of(rows.train))
    assert set(times.values()) == {1, 2}
    assert len(times) == counts["used"]
    assert counts["drawn"] == times.total() == len(rows.train)
    assert not set(times) & set(ids_of(rows.holdout))
    assert len(set(ids_of(rows.holdout))) == counts["holdout"]
    again = make(data)
    assert (list(again.train), list(again.holdout)) == (list(rows.train), list(rows.holdout))
    assert list(make(data, {"seed": 7}).train) != list(rows.train)


def test_more_rows_asked_for_than_there_are_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)))
    with pytest.raises(DataError, match="41 rows are to be drawn from 40"):
        make([{"path": path, "rows": 41}])


def test_held_out_file_shares_no_row_with_training(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)))
    held = write(tmp_path / "b.jsonl", good(99), good(5))
    with pytest.raises(RowError, match=rf"{held}:2: .*the same content as {path}:6"):
        make([{"path": path}], holdout={"path": held})
    rows = make([{"path": path}], {"on_bad_row": "quarantine"}, holdout={"path": held})
    assert (rows.counts()["used"], rows.counts()["holdout"], rows.counts()["quarantined"]) == (40, 1, 1)
    assert len(rows.data_hashes()) == 2


def test_near_repetitions_are_used_and_told(tmp_path: Path) -> None:
    text = " ".join(f"parola{n}" for n in range(60))
    path = write(tmp_path / "a.jsonl", said(text, text), said(text + " ancora", text + "!"))
    rows = make([{"path": path}], {"context": 2000}, holdout={"share": 0.0})
    assert rows.counts()["used"] == 2
    told = f"{path}:2 has nearly the same content as {path}:1"
    assert rows.warnings == (f"sft: near repetitions of earlier rows, which are used, too: 1; {told}",)


def test_missing_file_is_an_error_even_with_quarantine(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)))
    with pytest.raises(RowError, match="no such file"):
        make([{"path": path}, {"path": str(tmp_path / "no.jsonl")}], {"on_bad_row": "quarantine"})


def test_rows_of_the_hub_enter_by_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    from adatta.data import hub

    asked = {}

    def fetch(repository, problems, **where):
        asked.update(repository=repository, **where)
        return hub.HubRows("abc123", iter([(number + 1, good(number)) for number in range(40)]))

    monkeypatch.setattr(hub, "fetch_dataset", fetch)
    rows = make([{"path": "hub:someone/rows", "config": "it", "split": "test"}])
    assert asked == {"repository": "someone/rows", "config": "it", "split": "test", "revision": None}
    assert rows.data_hashes() == ("abc123",)
    assert rows.sources[0]["path"] == "hub:someone/rows"
    assert rows.counts()["rows"] == 40


def test_rows_that_get_lost_are_a_defect_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare._Reader, "_refuse", lambda self, refused: None)
    path = write(tmp_path / "a.jsonl", *map(good, range(40)), "{")
    with pytest.raises(DataError, match=r"41 rows came in, .* came out") as caught:
        make([{"path": path}])
    assert caught.value.problems[0].reason == "unexpected"


def test_stage_without_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "{")
    with pytest.raises(RowError, match="no row is left to train on"):
        make([{"path": path}], {"on_bad_row": "quarantine", "max_bad_share": 1.0})


def test_each_row_is_rendered_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(good, range(40)))
    recipe = Recipe.model_validate(
        {"name": "r", "model": {"name": "m"}, "context": 130, "stages": [{"sft": {"data": [{"path": path}]}}]}
    )
    chat = Chat()
    stage: Stage = recipe.stages[0]
    prepare_stage(stage, recipe, chat)  # type: ignore[arg-type]
    assert chat.num_rendered == 40 + 2  # two to see what the template adds


def test_memory_hardly_grows_with_the_rows(tmp_path: Path) -> None:
    traced = []
    for num in (100, 500, 2500):  # the first fills what is filled once
        path = write(tmp_path / f"{num}.jsonl", *map(good, range(num)))
        gc.collect()
        tracemalloc.start()
        rows = make([{"path": path, "weight": 1.5}])
        gc.collect()
        traced.append(tracemalloc.get_traced_memory())
        tracemalloc.stop()
        assert (rows.counts()["rows"], rows.counts()["tokens"] > 100 * num) == (num, True)
        del rows
    kept, peak = ((many - few) / 2000 for few, many in zip(*traced[1:], strict=True))
    assert kept < 20  # four bytes a row, and four each time it is used
    assert peak < 200
