"""Every example in `examples/`: a notebook in the percent format, and run to its end on a toy model."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from adatta.evals.classify import measure_agreement
from adatta.lang.profile import load_profile
from tests.toys.models import toy_model
from tests.toys.notebook import read_cells, run_notebook

pytestmark = pytest.mark.torch
FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
GOOD = '# %% [markdown]\n# # Title\n\n# %% tags=["parameters"]\nN = 1\n'


def test_there_are_examples_and_the_readme_has_a_line_for_each() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+\.py)`", page)) == {path.name for path in EXAMPLES} != set()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_notebooks(path: Path) -> None:
    cells = read_cells(path.read_text(encoding="utf-8"))
    first = "\n".join(cells[0].lines)
    assert "reference system (arXiv 2405.07101 and its notebooks)" in first
    assert "\nMODEL = " in "\n".join(cells[1].lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\n" + GOOD, "line 1: stands before the first cell"),
        (GOOD.replace("# # Title", "# Title"), "doesn't begin with a title"),
        (GOOD.replace("# # Title", "# # Title\nN = 2"), "line 3: no comment"),
        (GOOD.replace("tags=", "tag="), "line 4: no marker of a cell"),
        (GOOD.replace(' tags=["parameters"]', ""), "tagged as parameters"),
        (GOOD + "# %%\nN = 2\n", "don't alternate"),
        (GOOD + "# %% [markdown]\n# What follows\n", "don't alternate"),
        (GOOD + "# %% [markdown]\n#\n# %%\nN = 2\n", "line 7: an empty cell"),
        ("", "doesn't begin with a title"),
    ],
)
def test_what_is_no_notebook_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_cells(text)


def test_code_that_does_not_compile_is_told() -> None:
    with pytest.raises(SyntaxError):
        read_cells(GOOD + "# %% [markdown]\n# A loop\n# %%\nfor\n")


def test_parameters_are_replaced_and_unknown_ones_told(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(GOOD + "# %% [markdown]\n# Twice\n# %%\ntwice = 2 * N\n", encoding="utf-8")
    assert run_notebook(path)["twice"] == 2
    assert run_notebook(path, N=4)["twice"] == 8
    with pytest.raises(ValueError, match=r"example\.py has no parameter M"):
        run_notebook(path, M=4)


def test_inference(work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_notebook(FOLDER / "inference.py", MODEL=str(toy_folder), MAX_NEW_TOKENS=8)
    said = capsys.readouterr().out
    prompt = load_profile("it").system_prompt
    assert f"<|im_start|>system\n{prompt}<|im_end|>\n<|im_start|>user\n" in said  # no space around the tokens
    assert said.count("[cut by the limit]") + said.count("[ended by the model]") == 2
    assert names["stops"] == ["<|endoftext|>", "<|im_end|>"]
    assert [message.role for message in names["talk"].messages][:3] == ["system", "user", "assistant"]
    assert len(names["found"]) == 2
    assert len({each.text for each in names["found"]}) == 2
    assert all(value < 0 for value in (*names["right"], *names["wrong"]))
    assert f"{sum(np.array(names['right']) > names['wrong'])} of 8" in said


@pytest.fixture(scope="module")
def long_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy that takes 1,024 tokens: to its tokenizer Italian is little more than single letters."""
    folder = toy_model(tmp_path_factory.mktemp("long"), "llama", tied=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    return folder


TUNING = ["stages.sft.budget={steps: 2}", "precision=fp32", "stages.sft.batch.rows=4", "context=1024"]


def test_sentiment(work: Path, long_toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = FOLDER / "sentiment.py"
    names = run_notebook(path, MODEL=str(long_toy), LIMIT=12, TUNING=TUNING)
    said = capsys.readouterr().out
    before, after = names["before"], names["after"]
    assert not names["texts"]["dev"].keys() & names["texts"]["test"].keys()
    for name in (before, after):
        assert f"dev, {'before' if name == before else 'after'}, {names['chosen'][name]}" in said
    assert said.count("dev, ") == 6
    assert said.count("test, ") == 2
    figures = {
        name: measure_agreement(names["gold"]["test"], found) for name, found in names["predicted"].items()
    }
    difference = figures[after]["accuracy"]["value"] - figures[before]["accuracy"]["value"]
    assert names["accuracy"].value == pytest.approx(difference)
    assert (names["won"] - names["lost"]) / 12 == pytest.approx(difference)
    difference = figures[after]["macro_f1"]["value"] - figures[before]["macro_f1"]["value"]
    assert names["f1"].value == pytest.approx(difference)


def test_topics(work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_notebook(FOLDER / "topics.py", MODEL=str(toy_folder), NUM_WORDS=4, NUM_SHUFFLES=50)
    assert len(names["named"]) == 10
    assert all(each.labels[0] in names["NAMES"] for each in names["named"])
    assert sum(names["sizes"].values()) == len(names["documents"]) == 135
    words = [word for topic in names["topics"] for word in topic]
    assert not set(words) & load_profile("it").stop_words
    assert len(words) == 10 * 4
    assert names["found"].value > np.mean(names["shuffled"])
    assert 1 / 51 <= names["p"] < 0.1  # words of a topic belong together, on texts that it wasn't made from
    assert "10 topics" in capsys.readouterr().out
    assert names["stems"]("dell'albero, le ricette") == names["stems"]("Alberi e ricetta")


def test_recommendation(work: Path, toy_folder: Path) -> None:
    path = FOLDER / "recommendation.py"
    names = run_notebook(path, MODEL=str(toy_folder), NUM_USERS=12)
    assert len(names["histories"]) == 12
    for cooked, last, dishes in zip(names["histories"], names["held_out"], names["candidates"], strict=True):
        assert last not in cooked
        assert dishes.count(last) == 1
        assert len(set(dishes)) == 10
        assert not set(dishes) & set(cooked)
    assert (
        len({dishes.index(last) for last, dishes in zip(names["held_out"], names["candidates"], strict=True)})
        > 3
    )
    counted = Counter(dish for cooked in names["histories"] for dish in cooked)
    assert names["popularity"] == counted  # nothing held out is in it
    assert names["chance"] == pytest.approx(0.29290, abs=1e-5)  # H(10)/10
    assert set(names["over"]) == {"chance", "what is popular"}
    for places in names["rank"].values():
        assert all(1 <= place <= 10 for place in places)


def test_recommendation_ranks_what_a_perfect_and_a_useless_score_deserve(
    work: Path, toy_folder: Path
) -> None:
    names = run_notebook(FOLDER / "recommendation.py", MODEL=str(toy_folder), NUM_USERS=12)
    pairs = [
        (dish, last)
        for dishes, last in zip(names["candidates"], names["held_out"], strict=True)
        for dish in dishes
    ]
    assert names["ranks"]([float(dish == last) for dish, last in pairs]) == [1] * 12
    assert names["ranks"]([-float(dish == last) for dish, last in pairs]) == [10] * 12
    places = [
        dishes.index(last) + 1 for dishes, last in zip(names["candidates"], names["held_out"], strict=True)
    ]
    assert names["ranks"]([0.0] * len(pairs)) == places  # ties: the shuffle decides
