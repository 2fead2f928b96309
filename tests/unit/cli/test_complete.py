"""`adatta complete` on a toy: arguments, files, the input, JSON lines; a GGUF file; each mistake is told."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

import adatta
from tests.toys.command import call
from tests.toys.exports import write_toy

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("work")]
SHORT = ("--max-new-tokens", "6")


@pytest.fixture(scope="module")
def expected(toy_folder: Path) -> dict[str, str]:
    with adatta.load(str(toy_folder)) as model:
        prompts = ("Il mare\nè", "Roma")
        return {prompt: model.complete(prompt, max_new_tokens=6)[0].text for prompt in prompts}


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_argument_file_and_input_give_the_same(
    toy_folder: Path, expected: dict[str, str], capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = "Il mare\nè"
    Path("p.txt").write_text(f"{prompt}\n", encoding="utf-8")
    type_in(monkeypatch, prompt)
    for given in ((prompt,), ("--file", "p.txt"), ()):
        assert call("complete", str(toy_folder), *given, *SHORT) == 0
        assert capsys.readouterr().out == expected[prompt] + "\n"


def test_gguf_file_gives_what_its_model_gives(
    toy_folder: Path, expected: dict[str, str], capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adatta.model.engines.llamacpp._num_cores", lambda: 1)
    file = write_toy(toy_folder, Path.cwd())
    for engine in ((), ("--engine", "transformers")):
        assert call("complete", str(file), "Roma", *SHORT, *engine) == 0
        assert capsys.readouterr().out == expected["Roma"] + "\n"


def test_json_lines_in_and_out(toy_folder: Path, expected: dict[str, str], capsys) -> None:
    rows = [{"prompt": prompt} for prompt in expected]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert call("complete", str(toy_folder), "--jsonl", "--file", "p.jsonl", *SHORT) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"] for row in found] == list(expected)
    assert [row["completions"][0]["text"] for row in found] == list(expected.values())
    for row in found:
        (made,) = row["completions"]
        assert made["num_tokens"] <= 6
        assert made["stop_reason"] == ("length" if made["num_tokens"] == 6 else "stop")


def test_several_continuations_have_seeds_of_their_own(
    toy_folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = (*SHORT, "--temperature", "1.5", "--seed", "7")
    assert call("complete", str(toy_folder), "Roma", "--n", "3", *drawn) == 0
    shown = capsys.readouterr().out
    type_in(monkeypatch, '{"prompt": "Roma"}\n')
    assert call("complete", str(toy_folder), "--jsonl", "--n", "3", *drawn) == 0
    made = json.loads(capsys.readouterr().out)["completions"]
    assert shown == "".join(f"--- seed {7 + n}\n{each['text']}\n" for n, each in enumerate(made))
    assert len({each["text"] for each in made}) > 1


MISTAKES = {
    "empty prompt": (("",), "an empty text was given to complete"),
    "prompt too long": (("parola " * 500,), "tokens, the model takes 512; shorten it"),
    "prompt and file": (("x", "--file", "p.txt"), "expected one of them"),
    "missing file": (("--file", "nowhere.txt"), "nowhere.txt: can't be read: No such file"),
    "same text each time": (("x", "--n", "2"), "--n 2 gives the same text each time; add --temperature"),
    "no prompt in a line": (
        ("--jsonl", "--file", "q.jsonl"),
        "q.jsonl:1: no column 'prompt'; there are: 'text'",
    ),
    "broken line": (("--jsonl", "--file", "broken.jsonl"), "broken.jsonl:2: broken JSON"),
    "no UTF-8": (("Perch\udce9",), "is no UTF-8; set the terminal and the locale to UTF-8"),
    "unknown engine": (("x", "--engine", "vlm"), "engine 'vlm' isn't known; give one of llamacpp, "),
    "engine without its file": (("x", "--engine", "llamacpp"), "llama.cpp reads GGUF files"),
    "bad encoding": (("--file", "latin.txt"), "latin.txt:1: bytes that are no UTF-8"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message_and_code_2(mistake: str, toy_folder: Path, capsys) -> None:
    Path("q.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    Path("broken.jsonl").write_text('{"prompt": "x"}\n{"prompt"\n', encoding="utf-8")
    Path("latin.txt").write_bytes("città\n".encode("latin-1"))
    arguments, message = MISTAKES[mistake]
    assert call("complete", str(toy_folder), *arguments) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("adatta: ")
    assert not out


def test_model_that_isn_t_there_is_told(capsys) -> None:
    assert call("complete", "nowhere.gguf", "x") == 2
    assert "nowhere.gguf" in capsys.readouterr().err
