"""Mistakes of users: exit code 2, one message with file and line, no traceback, nothing trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adatta.core.runtime import bundled_dir
from tests.toys.command import call

pytestmark = pytest.mark.torch  # builds a toy model


@pytest.fixture
def work(work: Path, toy_folder: Path) -> Path:
    """A copy of the demo recipe with the project's own data, on a toy model, 4 rows of each file."""
    shutil.copytree(bundled_dir() / "data", work / "data")
    recipe = (bundled_dir() / "recipes" / "demo.yaml").read_text(encoding="utf-8")
    recipe = re.sub(r"name: \"package:[^\"]*\"", f'name: "{toy_folder}"', recipe)
    (work / "recipe.yaml").write_text(recipe.replace("context: 1024", "context: 4096"), encoding="utf-8")
    return work


def change_recipe(old: str, new: str) -> Callable[[Path], None]:
    """Replace a text of the recipe."""

    def change(work: Path) -> None:
        path = work / "recipe.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def add_line(name: str, line: str | bytes) -> Callable[[Path], None]:
    """Append a line to a data file."""

    def change(work: Path) -> None:
        with (work / "data" / name).open("ab") as file:
            file.write((line.encode("utf-8") if isinstance(line, str) else line) + b"\n")

    return change


def count_lines(name: str) -> int:
    """Count the rows of a data file of the project."""
    return len((bundled_dir() / "data" / name).read_text(encoding="utf-8").splitlines())


def added(name: str) -> str:
    """Return a pattern of the file and line that `add_line` appends."""
    return re.escape(f"{name}:{count_lines(name) + 1}")


def copy_item(line: int) -> Callable[[Path], None]:
    """Append a document of the suite, in capitals and without its full stops, to the prose to train on."""
    items = (bundled_dir() / "data" / "evaluation" / "test" / "text_it.jsonl").read_text(encoding="utf-8")
    text = json.loads(items.splitlines()[line])["text"].upper().replace(".", "")
    return add_line(PROSE, json.dumps({"text": text}))


TURN = '{"messages":[{"role":"user","content":"Ciao"},{"role":"assistant","content":"%s"}]}'
ROWS = "conversations.jsonl"
PAIRS = "preferences.jsonl"
PROSE = "text/prose.jsonl"

MISTAKES = {
    "unknown key": (
        change_recipe("optimizer: {lr:", "optimizer: {learning_rate:"),
        r"recipe\.yaml:\d+: .*'lr'",
    ),
    "wrong type": (change_recipe("seed: 42", "seed: many"), r"recipe\.yaml:\d+: .*seed"),
    "yaml 1.2 no": (
        change_recipe("precision: fp32", "precision: no"),
        r"recipe\.yaml:\d+: .*precision.*'no'",
    ),
    "missing file": (
        change_recipe("data/conversations.jsonl", "data/conversation.jsonl"),
        r"recipe\.yaml:\d+: .*conversation\.jsonl",
    ),
    "two budgets": (
        change_recipe("budget: {tokens:", "budget: {steps: 3, tokens:"),
        r"recipe\.yaml:\d+: .*exactly one",
    ),
    "unknown format": (change_recipe("gguf-q8_0", "gguf-q9"), r"recipe\.yaml:\d+: .*gguf-q9"),
    "unknown suite": (change_recipe("[offline]", "[online]"), r"recipe\.yaml:\d+: .*online"),
    "missing model": (change_recipe('name: "', 'name: "nowhere/'), r"recipe\.yaml:\d+: .*nowhere"),
    "broken JSON": (add_line(ROWS, '{"messages": ['), rf"{added(ROWS)}: "),
    "wrong kind of row": (add_line(ROWS, '{"text": "Ciao"}'), rf"{added(ROWS)}: .*document"),
    "empty answer": (add_line(ROWS, TURN % " "), rf"{added(ROWS)}: .*whitespace"),
    "longer than the context": (
        add_line(ROWS, TURN % ("parola " * 5000)),
        rf"{added(ROWS)}: \d+ tokens, the context has 4096",
    ),
    "invalid UTF-8": (add_line(PAIRS, b'{"prompt": "\xff"}'), rf"{added(PAIRS)}: .*UTF-8"),
    "unknown role": (
        add_line(PAIRS, '{"prompt":[{"role":"narratore","content":"a"}],"chosen":"b","rejected":"c"}'),
        rf"{added(PAIRS)}: .*narratore",
    ),
    "same answers": (
        add_line(PAIRS, '{"prompt":[{"role":"user","content":"a"}],"chosen":"b","rejected":"b"}'),
        rf"{added(PAIRS)}: .*chosen",
    ),
    "unknown key of a row": (
        add_line(PROSE, '{"text":"Ciao","langauge":"it"}'),
        rf"{added(PROSE)}: .*langauge",
    ),
    "not an object": (add_line(PROSE, '["Ciao"]'), rf"{added(PROSE)}: "),
    "what is measured": (copy_item(3), rf"{added(PROSE)}: exact match with offline/text_it, item "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("command", ["check", "run"])
def test_mistake_is_told_with_its_line(
    command: str, mistake: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = MISTAKES[mistake]
    change(work)
    assert call(command, "recipe.yaml") == 2
    said = capsys.readouterr().err
    assert re.search(message, said), said
    assert "Traceback" not in said
    assert not (work / "runs").exists()


PREFERENCES = "data: [{path: data/preferences.jsonl, license: cc0-1.0}]"
FIELDS = "data: [{path: data/preferences.jsonl, fields: {prompt: %s}}]"


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("policy", ["error", "quarantine"])
def test_name_that_no_row_has_is_told_once_at_its_line_of_the_recipe(
    command: str, policy: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_recipe(PREFERENCES, FIELDS % "prompts")(work)
    add_line(ROWS, "{broken")(work)
    assert call(command, "recipe.yaml", "--set", f"on_bad_row={policy}") == 2
    said = capsys.readouterr().err
    lines = (work / "recipe.yaml").read_text(encoding="utf-8").splitlines()
    number = next(number for number, line in enumerate(lines, start=1) if "prompts" in line)
    what = "no row has 'prompts'; did you mean 'prompt'?"
    message = f"recipe.yaml:{number}: stages.2.dpo.data.0.fields.prompt: {what}"
    assert said.count("prompts") == said.count(message) == 1, said
    assert re.search(r"keys of the first row: prompt, chosen, rejected", said)
    assert bool(re.search(added(ROWS), said)) == (policy == "error")
    assert not (work / "runs").exists()


@pytest.mark.parametrize("command", ["check", "run"])
def test_name_of_a_field_that_there_is_not_is_told_once(
    command: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = "stages.dpo.data.0.fields={promt: prompt}"
    assert call(command, "recipe.yaml", "--set", setting) == 2
    said = capsys.readouterr().err
    what = "stages.2.dpo.data.0.fields.promt: preference rows have no field 'promt'"
    assert said.count("'promt'") == said.count(f"--set {setting}: {what}") == 1, said


@pytest.mark.parametrize("command", ["check", "run"])
def test_name_that_some_rows_have_makes_bad_rows_of_the_others(
    command: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_recipe(PREFERENCES, FIELDS % "domanda")(work)
    add_line(PAIRS, '{"domanda": "Che ore sono?", "chosen": "Sono le tre.", "rejected": "Boh, non so."}')(
        work
    )
    assert call(command, "recipe.yaml") == 2
    said = capsys.readouterr().err
    assert "recipe.yaml" not in said
    for line in (1, 20):
        assert f"preferences.jsonl:{line}: no column 'domanda', which stands for prompt" in said
    assert re.search(rf"^ +{count_lines(PAIRS)}  missing_key$", said, re.MULTILINE)


def test_model_that_cannot_be_exported_is_told_before_training(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(re.search(r'name: "([^"]+)"', (work / "recipe.yaml").read_text())[1])
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [tokenizer["pre_tokenizer"]] * 2}
    other = work / "other"
    shutil.copytree(folder, other)
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    change_recipe(str(folder), str(other))(work)
    assert call("check", "recipe.yaml") == 2
    said = capsys.readouterr().err
    assert re.search(r"recipe\.yaml:\d+: .*formats.*gguf-f16: llama\.cpp has no known pre-tokeniser", said), (
        said
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.sft.method=full", "adapter: sft changes more"),
        ("stages.sft.adapter.dora=true", "adapter: sft changes more"),
        ("stages.dpo.adapter.also=[norms]", "adapter: dpo changes more"),
        ("stages.sft.merge.into=dequantised", "adapter: sft changes more"),
        ("stages=[{export: {formats: [adapter]}}]", "adapter: no stage trains one"),
    ],
)
def test_adapter_of_a_chain_that_learns_more_is_told_before_training(
    work: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    low_rank = [f"stages.{stage}.method=qlora" for stage in ("adapt", "sft", "dpo")]
    overrides = [*low_rank, "stages.export.formats=[adapter]"] * (not change.startswith("stages=["))
    sets = [part for override in (*overrides, change) for part in ("--set", override)]
    assert call("check", "recipe.yaml", *sets) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "an adapter is what lora or qlora learn" in said


def test_importance_text_that_is_not_there_is_told_before_training(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("check", "recipe.yaml", "--set", "stages.export.importance=manca.txt") == 2
    assert "stages.4.export.importance: no file or folder 'manca.txt'" in capsys.readouterr().err


def test_overlap_is_a_warning_where_the_recipe_says_so(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_item(3)(work)
    assert call("check", "recipe.yaml", "--set", "on_overlap=report") == 0
    said = capsys.readouterr().out
    assert re.search(
        r"WARN  overlap: 3 sources against the items of offline: 1 exact, 0 strong.* words in data/text/",
        said,
    )
    pairs = rf"ok    preferences in data/preferences\.jsonl: {count_lines(PAIRS)} pairs: "
    assert re.search(pairs + ".* sound harmful 0", said)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("policy", ["error", "quarantine"])
def test_bad_rows_are_mistakes_without_a_model_only_where_the_recipe_says_so(
    command: str, policy: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_recipe('name: "', 'name: "nowhere/')(work)
    add_line(ROWS, "{broken")(work)
    change_recipe("data/preferences.jsonl", "data/preference.jsonl")(work)
    assert call(command, "recipe.yaml", "--set", f"on_bad_row={policy}") == 2
    said = capsys.readouterr().err
    assert "nowhere" in said
    assert "no file or folder 'data/preference.jsonl'" in said
    assert bool(re.search(added(ROWS), said)) == (policy == "error")


TEXTS = """texts:
        gone: {path: gone.txt}
        mine: {path: mine.jsonl}
        text_it: {path: other.jsonl, fields: {text: tseto}}
"""


@pytest.mark.parametrize("model", ["found", "missing"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_all_mistakes_are_told_at_once(
    command: str, model: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_line(ROWS, "{broken")(work)
    add_line(PROSE, "{broken")(work)
    copy_item(3)(work)
    change_recipe("data/preferences.jsonl", "data/preference.jsonl")(work)
    change_recipe("gguf-q8_0", "gguf-q9")(work)
    change_recipe("evaluate: {suites: [offline], max_new_tokens: 160}", f"evaluate:\n      {TEXTS.rstrip()}")(
        work
    )
    (work / "mine.jsonl").write_text('{"text": "Ciao."}\n{"text": " "}\n', encoding="utf-8")
    (work / "other.jsonl").write_text('{"testo": "Ciao."}\n{"testo": "Addio."}\n', encoding="utf-8")
    if model == "missing":
        change_recipe('name: "', 'name: "nowhere/')(work)
    assert call(command, "recipe.yaml") == 2
    said = capsys.readouterr().err
    told = [
        added(ROWS),
        added(PROSE),
        r"recipe\.yaml:\d+: stages\.2\.dpo\.data\.0\.path: no file or folder 'data/preference\.jsonl'",
        r"recipe\.yaml:\d+: .*there is no 'gguf-q9'",
        r"recipe\.yaml:\d+: .*texts\.gone\.path: no file or folder 'gone\.txt'",
        r"mine\.jsonl:2: ",
        r"recipe\.yaml:\d+: .*texts\.text_it\.fields\.text: no row has 'tseto'; did you mean 'testo'\?",
        r"recipe\.yaml:\d+: .*texts\.text_it: a task of suite offline is called so",
        r"recipe\.yaml:\d+: .*nowhere" if model == "missing" else r"exact match with offline/text_it",
    ]
    assert {pattern: len(re.findall(pattern, said)) for pattern in told} == dict.fromkeys(told, 1), said
    assert not (work / "runs").exists()


def test_mistake_in_an_override_is_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", "recipe.yaml", "--set", "stages.sft.optimizer.rate=1") == 2
    assert "--set stages.sft.optimizer.rate=1" in capsys.readouterr().err


def test_right_recipe_passes_the_check(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", "recipe.yaml") == 0
    num_held = round(0.05 * count_lines(ROWS))
    said = f"ok    rows of sft: {count_lines(ROWS) - num_held} to train on, {num_held} held out"
    assert said in capsys.readouterr().out
