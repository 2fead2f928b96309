"""Ollama's model file says what the model's own template does, or says that it can't."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adatta.chat.render import Chat
from adatta.chat.template import Template
from adatta.core.errors import TemplateError
from adatta.core.records import Message
from adatta.export.modelfile import NO_TEMPLATE, find_pieces
from tests.toys.exports import make_job
from tests.unit.chat.families import write_family
from tests.unit.chat.published import published

pytestmark = pytest.mark.torch
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
USER, BOT = Message(role="user", content="Chi è?"), Message(role="assistant", content="È lui.")
SYSTEM = Message(role="system", content="Sii breve.")
CONVERSATIONS = (
    [USER],
    [USER, BOT, USER],
    [SYSTEM, USER],
    [SYSTEM, USER, BOT, USER],
    [USER, BOT, USER, BOT, USER, BOT, USER],
)


def run_go(text: str, messages: Sequence[Message]) -> str:
    """Run the part of Go's template language that the model files use, as Ollama calls it."""
    parts = re.split(r"\{\{ (.*?) \}\}", text)
    system = next((message.content for message in messages if message.role == "system"), "")

    def run(at: int, message: Message | None, live: bool) -> tuple[str, int, str]:
        """Write from a text on to `else` or `end`; return what was written, where, and what ended it."""
        out = ""
        while True:
            out += parts[at] if live else ""
            if at + 1 >= len(parts):
                return out, at, ""
            action = parts[at + 1]
            if action.startswith(("else", "end")):
                return out, at, action
            if action in (".System", ".Content"):
                value = system if action == ".System" else message.content
                out, at = out + (value if live else ""), at + 2
            elif action == "range .Messages":
                for each in messages:
                    piece, end, _ = run(at + 2, each, live)
                    out += piece
                at = end + 2
            else:
                piece, at = choose(at, message, live)
                out += piece

    def choose(at: int, message: Message | None, live: bool) -> tuple[str, int]:
        done, out, action = False, "", parts[at + 1]
        while action != "end":
            condition = action.removeprefix("else").strip().removeprefix("if ")
            role = re.fullmatch(r'eq \.Role "(\w+)"', condition)
            holds = message.role == role[1] if role else (bool(system) if condition == ".System" else True)
            assert role or condition in (".System", ""), condition
            piece, at, action = run(at + 2, message, live and holds and not done)
            out, done = out + piece, done or holds
        return out, at + 2

    return run(0, None, True)[0]


def assert_same(template: Template, *, at_least: int = 2) -> None:
    pieces = find_pieces(template)
    assert pieces is not None
    compared = 0
    for messages in CONVERSATIONS:
        if messages[0].role == "system" and pieces.system is None:
            continue
        expected = template.render(messages, generation_prompt=True).text
        assert run_go(pieces.go(), messages) == expected == pieces.render(messages)
        compared += 1
    assert compared >= at_least


@pytest.mark.parametrize("family", ["chatml", "qwen", "llama3", "mistral"])
def test_go_template_renders_what_the_model_s_own_does(tmp_path: Path, family: str) -> None:
    folder = write_family(tmp_path, family)
    for prompt in (None, "Rispondi in italiano.")[
        : 1 if family == "mistral" else 2
    ]:  # this one has no system
        chat = Chat.load(folder, prompt)
        assert_same(Template(chat.exported_template(), NAMES))


def try_pieces(text: str) -> Any:
    try:
        return find_pieces(Template(text, NAMES))
    except TemplateError:
        return None


def test_most_published_templates_can_be_said_in_go() -> None:
    templates = published()
    said = {name for name, text in templates.items() if try_pieces(text)}
    for name in said:
        assert_same(Template(templates[name], NAMES))
    print(sorted(set(templates) - said))
    assert {"gemma", "phi3", "llama3", "qwen2_5", "qwen3"} <= said


@pytest.mark.parametrize(
    "text",
    [
        # The last question is asked in another way than the ones before it.
        "{% for m in messages %}{{ '[LAST]' if loop.last else '[Q]' }}{{ m['content'] }}{% endfor %}>",
        # The number of the turn is written.
        "{% for m in messages %}{{ loop.index }}{{ m['content'] }}{% endfor %}>",
        # Go would read this as code.
        "{% for m in messages %}{{ '{' + '{' }}{{ m['content'] }}{% endfor %}>",
        # It would end the text in the model file.
        '{% for m in messages %}""' + '"{{ m["content"] }}{% endfor %}>',
        # It refuses an answer.
        "{{ messages[0]['content'] }}{{ raise_exception('no') if messages | length > 1 }}>",
    ],
)
def test_templates_that_go_would_render_otherwise_are_left_out(text: str) -> None:
    assert find_pieces(Template(text, NAMES)) is None


def test_model_file_has_template_stops_and_context(toy_folder: Path, tmp_path: Path) -> None:
    from adatta.export.formats.gguf_q8_0 import write

    _, path = write(make_job(toy_folder, tmp_path, system_prompt="Rispondi."))
    assert path.name == "Modelfile-q8_0"
    assert path.read_text() == (
        "FROM ./toy-q8_0.gguf\n"
        'TEMPLATE """{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n<|im_start|>user\n'
        "{{ else }}<|im_start|>system\nRispondi.<|im_end|>\n<|im_start|>user\n{{ end }}"
        '{{ range .Messages }}{{ if eq .Role "user" }}{{ .Content }}'
        '{{ else if eq .Role "assistant" }}<|im_end|>\n<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        "<|im_start|>user\n{{ end }}{{ end }}<|im_end|>\n<|im_start|>assistant\n"
        '"""\n'
        'PARAMETER stop "<|endoftext|>"\n'
        'PARAMETER stop "<|im_end|>"\n'
        "PARAMETER num_ctx 512\n"
    )


def test_begin_of_text_that_the_runner_adds_is_left_out(tmp_path: Path) -> None:
    pieces = find_pieces(
        Template("{{ bos_token }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}>", NAMES)
    )
    assert (pieces.first, pieces.system, pieces.asked) == ("<s>[", "<s>[", "][")
    plain = pieces.without("<s>")
    assert (plain.first, plain.system) == ("[", "[")


def test_model_file_says_that_it_has_no_template(toy_folder: Path, tmp_path: Path) -> None:
    import shutil

    from adatta.export.formats.gguf_f16 import write

    folder = Path(shutil.copytree(toy_folder, tmp_path / "model"))
    own = (folder / "chat_template.jinja").read_text()
    counted = "message['role'] + (loop.index | string if message['role'] == 'user' else '')"
    (folder / "chat_template.jinja").write_text(own.replace("message['role']", counted))
    _, path = write(make_job(folder, tmp_path))
    assert NO_TEMPLATE in path.read_text()
    (folder / "chat_template.jinja").unlink()
    _, path = write(make_job(folder, tmp_path))
    assert "TEMPLATE" not in path.read_text()
