"""Items and shots: chosen by content whatever the order of files, pinned, told where they leak."""

from __future__ import annotations

import json
import random

import pytest

from adatta.core.errors import DataError
from adatta.evals import harness_data
from adatta.evals.harness_data import (
    LOCK,
    check_lock,
    draw_items,
    find_leaks,
    load_data,
    rank,
    read_lock,
    write_lock,
)
from adatta.evals.harness_suite import DataSource, HarnessTask, ShotRule, load_harness_suite
from tests.toys import benchmarks

TASKS = {task.name: task for suite in ("italian", "english") for task in load_harness_suite(suite).tasks}
COLUMNS = {"question": "str", "options": "list", "label": "int"}


def make_task(name="mele", *, count=0, rule="first", split="esempi"):
    files = {"prova": ("prova.jsonl",), "esempi": ("esempi.jsonl",)}
    source = DataSource(hub="ANNA/mele", split="prova", files=files, columns=COLUMNS)
    shots = ShotRule(count=count, split=split, rule=rule)
    return HarnessTask(name=name, harness=name, data=source, question=("question",), shots=shots)


def write(folder, items, shots=()):
    files = {"prova.jsonl": benchmarks.jsonl(items), "esempi.jsonl": benchmarks.jsonl(shots)}
    return benchmarks.write_files(folder, files)


def questions(rows):
    return [row["question"] for row in rows]


def test_first_shots_are_the_first_rows_and_hashed_ones_the_same_in_any_order(tmp_path):
    pool = benchmarks.sums(30, start=100)
    shuffled = random.Random(3).sample(pool, len(pool))
    folders = [write(tmp_path / str(n), benchmarks.sums(4), rows) for n, rows in enumerate((pool, shuffled))]
    first, hashed = make_task(count=5), make_task(count=5, rule="smallest-hash")
    assert questions(load_data(first, folders[0]).shots["mele"]) == questions(pool[:5])
    found = [questions(load_data(hashed, folder).shots["mele"]) for folder in folders]
    assert found[0] == found[1]
    assert found[0] == questions(sorted(pool, key=lambda row: rank(hashed, row))[:5])


def test_rank_looks_at_the_words_only():
    task = make_task()
    one, other = {"question": "Perché è tardi?"}, {"question": "perche' e  tardi"}
    assert rank(task, one)[0] == rank(task, other)[0]
    assert rank(task, one) != rank(task, other)


def test_too_few_shots_and_missing_files_are_told(tmp_path):
    folder = write(tmp_path, benchmarks.sums(4), benchmarks.sums(2, start=50))
    with pytest.raises(DataError, match="mele has 2 of 5 shots; give all of its files"):
        load_data(make_task(count=5), folder)
    with pytest.raises(DataError, match="no such file"):
        load_data(make_task(), tmp_path / "nulla")
    with pytest.raises(DataError, match="hub:ANNA/mele"):
        load_data(make_task())  # the Hub is offline here


def test_items_that_stand_twice_count_once_and_shots_are_not_asked(tmp_path):
    items = benchmarks.sums(6)
    data = load_data(make_task(count=2, split="prova"), write(tmp_path, [*items, items[4], items[5]]))
    assert questions(data.shots["mele"]) == questions(items[:2])
    assert questions(data.items) == questions(items[2:])
    assert data.counts == {"rows": 8, "repeated": 2, "are_shots": 2}


def test_a_split_with_shots_only_has_no_items(tmp_path):
    with pytest.raises(DataError, match="no items in its split prova"):
        load_data(make_task(count=2, split="prova"), write(tmp_path, benchmarks.sums(2)))


def test_rows_of_the_hub_are_read_at_the_commit_of_the_lock(monkeypatch):
    asked = []

    def fetch(repository, problems, *, config, split, revision):
        asked.append((repository, split, revision))
        return harness_data_rows(revision or "c0ffee")

    def harness_data_rows(commit):
        from adatta.data.hub import HubRows

        return HubRows(commit, iter(enumerate(benchmarks.sums(9), start=1)))

    monkeypatch.setattr(harness_data, "fetch_dataset", fetch)
    data = load_data(make_task(count=2))
    assert asked == [("ANNA/mele", "prova", None), ("ANNA/mele", "esempi", "c0ffee")]
    assert (data.pin["source"], data.pin["revision"]) == ("hub:ANNA/mele", "c0ffee")
    load_data(make_task(), pin={"source": "hub:ANNA/mele", "revision": "bada55"})
    load_data(make_task(), pin={"source": "files", "revision": "bada55"})
    assert [revision for *_, revision in asked[2:]] == ["bada55", None]


def test_1000_items_are_drawn_in_equal_shares_and_small_tasks_give_theirs_to_others(tmp_path):
    sizes = {"pochi": 40, "tanti": 900, "altri": 700, "medi": 300}
    data = {
        name: load_data(make_task(name), write(tmp_path / name, benchmarks.sums(size)))
        for name, size in sizes.items()
    }
    drawn = draw_items(data.values(), 1000)
    assert {name: len(found.items) for name, found in drawn.items()} == {
        "pochi": 40,
        "medi": 300,
        "altri": 330,
        "tanti": 330,
    }
    assert sum(len(found.items) for found in draw_items(data.values(), 10_000).values()) == sum(
        sizes.values()
    )


def test_the_same_items_are_drawn_whatever_the_order_of_rows(tmp_path):
    rows = benchmarks.sums(200)
    found = []
    for number, order in enumerate((rows, rows[::-1])):
        data = {"mele": load_data(make_task(), write(tmp_path / str(number), order))}
        found.append(draw_items(data.values(), 50)["mele"].items)
    assert found[0] == found[1]
    assert found[0] == sorted(rows, key=lambda row: rank(make_task(), row))[:50]


def long_question(number):
    words = (
        "nave",
        "porto",
        "vento",
        "remo",
        "vela",
        "onda",
        "faro",
        "rete",
        "pesce",
        "sale",
        "molo",
        "corda",
        "alba",
    )
    rng = random.Random(number)
    return " ".join(f"{rng.choice(words)}{rng.randrange(100)}" for _ in range(30))


def test_planted_leaks_are_found_100_of_100_and_nothing_else():
    task = make_task(count=100)
    equal = [{"question": long_question(n), "options": ["a", "b"], "label": 0} for n in range(40)]
    equal += [{"question": f"Quanto fa {n}?", "options": ["a", "b"], "label": 0} for n in range(10)]
    inside = [{"question": long_question(n), "options": ["a", "b"], "label": 0} for n in range(100, 150)]
    clean = [{"question": long_question(n), "options": ["a", "b"], "label": 0} for n in range(200, 300)]
    twelve = [{"question": long_question(n), "options": ["a", "b"], "label": 0} for n in range(400, 410)]
    shots = [{**row, "options": ["c", "d"]} for row in equal]
    for number, row in enumerate(inside):
        start = number % 15
        run = " ".join(row["question"].split()[start : start + 13]).upper()
        shots.append({"question": f"Altre parole: {run}, e poi altro.", "options": ["a"], "label": 0})
    for row in twelve:
        shots.append(
            {"question": "Altro: " + " ".join(row["question"].split()[:12]), "options": ["a"], "label": 0}
        )
    leaks = list(find_leaks(task, [*clean, *equal, *inside, *twelve], shots={"mele": shots}))
    assert len(leaks) == 100
    from adatta.core.fingerprint import content_id

    assert {leak["item"] for leak in leaks} == {content_id(row) for row in (*equal, *inside)}
    by_item = {leak["item"]: leak for leak in leaks}
    assert by_item[content_id(inside[7])]["shots"] == [content_id(shots[57])]
    assert by_item[content_id(inside[7])]["shared"] == " ".join(inside[7]["question"].split()[7:20])


def test_shots_leak_into_the_items_that_they_stand_before_only(tmp_path):
    files = {name: text for name, text in benchmarks.english_releases().items() if name.startswith("mmlu/")}
    twin = {**benchmarks.sums(1)[0], "options": ["uno", "due", "tre", "quattro"]}
    dev = benchmarks.mmlu([twin, *benchmarks.sums(4, start=200)])
    here = files | {"mmlu/dev/abstract_algebra_dev.csv": dev}
    elsewhere = files | {"mmlu/dev/high_school_physics_dev.csv": dev}
    (leak,) = load_data(TASKS["mmlu"], benchmarks.write_files(tmp_path / "a", here)).leaks
    assert leak["shared"] == "the question"
    assert not load_data(TASKS["mmlu"], benchmarks.write_files(tmp_path / "b", elsewhere)).leaks


def test_the_lock_keeps_the_first_data_and_refuses_others(tmp_path):
    rows = benchmarks.sums(6)
    data = load_data(make_task(), write(tmp_path / "a", rows))
    write_lock(tmp_path, [data])
    lock = json.loads((tmp_path / LOCK).read_text(encoding="utf-8"))
    assert lock == {"mele": data.pin}
    write_lock(tmp_path, [data, load_data(make_task("pere"), write(tmp_path / "a", rows))])
    assert set(read_lock(tmp_path)) == {"mele", "pere"}
    changed = {**rows[3], "label": (rows[3]["label"] + 1) % 4}
    other = load_data(make_task(), write(tmp_path / "b", [*rows[:3], changed, *rows[4:]]))
    with pytest.raises(DataError, match=r"suites\.lock: mele: .* at first, now .*(.|\n)*another folder"):
        check_lock(tmp_path, [other])
    write_lock(tmp_path, [other])
    assert read_lock(tmp_path)["mele"] == lock["mele"]


def test_the_lock_takes_the_same_content_from_elsewhere(tmp_path):
    rows = benchmarks.sums(6)
    write_lock(tmp_path, [load_data(make_task(), write(tmp_path / "a", rows))])
    check_lock(tmp_path, [load_data(make_task(), write(tmp_path / "b", [*rows[::-1], rows[0]]))])
