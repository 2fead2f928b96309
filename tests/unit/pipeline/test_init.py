"""What init writes for the user's own files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.core.errors import RecipeError
from adatta.core.recipe import LoadedRecipe, load_recipe
from adatta.pipeline import init
from adatta.pipeline.init import init_folder

HUB = "org/model"


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def talk(text: str) -> dict[str, object]:
    return {"instruction": "Dimmi qualcosa.", "output": text}


def make(folder: Path, *, base: str = HUB, language: str = "it", **files: Path) -> LoadedRecipe:
    init_folder(folder, base=base, files=files, language=language)
    return load_recipe(folder / "recipe.yaml")


def test_recipe_names_files_from_where_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write(tmp_path / "miei dati" / "rows.jsonl", {**talk("Il mare è calmo."), "score": 1}, talk("Sì."))
    pairs = write(tmp_path / "pairs.jsonl", {"question": "Come va?", "chosen": "Bene.", "rejected": "Well."})
    loaded = make(tmp_path / "mio", sft=rows, preferences=pairs, language="en")
    text = (tmp_path / "mio" / "recipe.yaml").read_text(encoding="utf-8")
    assert 'path: "../miei dati/rows.jsonl"' in text
    assert "# 2 rows (alpaca)" in text
    assert len(text.splitlines()) <= 40
    recipe = loaded.recipe
    assert [stage.kind for stage in recipe.stages] == ["sft", "dpo", "evaluate", "export", "report"]
    assert [stage.training.data[0].path for stage in recipe.stages[:2]] == [str(rows), str(pairs)]
    assert (recipe.language, recipe.model.name) == ("en", HUB)
    said = capsys.readouterr().out
    assert "sft: 2 rows (alpaca), the longest about" in said
    assert "keys that nothing reads: score (1)" in said
    assert "preferences: 1 row (preference_question)" in said


def test_folders_and_other_formats_are_read(tmp_path: Path) -> None:
    write(tmp_path / "rows" / "a.jsonl", talk("Il mare è calmo."))
    (tmp_path / "rows" / "b.json").write_text(json.dumps([talk("Sì."), talk("No.")]), encoding="utf-8")
    text = write(tmp_path / "c.txt", "C'era una volta.")
    make(tmp_path / "mio", sft=tmp_path / "rows", text=text)
    recipe = (tmp_path / "mio" / "recipe.yaml").read_text(encoding="utf-8")
    assert "# 3 rows (alpaca)" in recipe
    assert "# 1 row (text)" in recipe


@pytest.mark.parametrize(("num_chars", "context"), [(10, 1024), (1900, 1024), (2100, 2048), (9000, 8192)])
def test_context_is_the_next_power_of_two_that_holds_the_longest_row(
    num_chars: int, context: int, tmp_path: Path
) -> None:
    rows = write(tmp_path / "rows.jsonl", talk("Sì."), talk("a" * num_chars))
    assert make(tmp_path / "mio", sft=rows).recipe.context == context


def test_context_is_at_most_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "_measure_model", lambda base: (2048, True))
    recipe = make(tmp_path / "mio", sft=write(tmp_path / "rows.jsonl", talk("a" * 9000))).recipe
    assert (recipe.context, recipe.stages[0].training.method) == (2048, "lora")


def test_long_texts_are_cut_into_windows_and_need_no_context(tmp_path: Path) -> None:
    recipe = make(tmp_path / "mio", text=write(tmp_path / "t.jsonl", {"text": "a" * 9000})).recipe
    assert (recipe.context, recipe.on_overlong) == (1024, "split")
    rows = write(tmp_path / "rows.jsonl", talk("Sì."))
    assert make(tmp_path / "due", sft=rows).recipe.on_overlong == "error"


@pytest.mark.parametrize(("num_rows", "epochs"), [(999, 3), (1000, 2), (10_000, 1)])
def test_fewer_rows_are_passed_over_more_often(num_rows: int, epochs: int, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", *[talk(f"Numero {number}.") for number in range(num_rows)])
    assert make(tmp_path / "mio", sft=rows).recipe.stages[0].training.budget.epochs == epochs


def test_every_mistake_is_told_and_nothing_written(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", talk("Sì."), talk(""), {"domanda": "Che ore sono?"})
    with pytest.raises(RecipeError) as caught:
        make(tmp_path / "mio", sft=rows, preferences=write(tmp_path / "p.doc", {}), text=tmp_path / "no.txt")
    problems = [(problem.where, problem.reason) for problem in caught.value.problems]
    assert problems == [
        (f"{rows}:2", "empty"),
        (f"{rows}:3", "missing_key"),
        (str(tmp_path / "p.doc"), "unreadable"),
        (str(tmp_path / "no.txt"), "unreadable"),
    ]
    assert not (tmp_path / "mio").exists()


def test_unknown_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="language 'xx' has no profile"):
        make(tmp_path / "mio", language="xx")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl/mio"])
def test_file_in_the_place_of_the_folder_is_named(name: str, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", talk("Sì."))
    with pytest.raises(RecipeError, match=f"{name}: no folder can be made here"):
        make(tmp_path / name, sft=rows)
