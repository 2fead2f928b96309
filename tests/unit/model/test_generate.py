"""Batched greedy answers against one-by-one forwards without a cache, in float64."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from adatta.model import generate
from adatta.model.generate import generate_greedy

pytestmark = pytest.mark.torch
PAD_ID = 2


def one_by_one(model, prompt: tuple[int, ...], limit: int, stop_ids: set[int]) -> tuple[int, ...]:
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(limit):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in stop_ids:
                break
    return tuple(ids[len(prompt) :])


@pytest.fixture(scope="module")
def prompts() -> list[tuple[int, ...]]:
    generator = random.Random(3)
    lengths = [1, 40, 7, 23, 40, 2, 31, 12, 5]
    return [tuple(generator.randrange(3, 400) for _ in range(length)) for length in lengths]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_batches_equal_one_by_one(toy_folders, prompts, monkeypatch, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folders[family, True], dtype=torch.float64)
    free = [one_by_one(model, prompt, 20, set()) for prompt in prompts]
    stop_ids = {answer[2 + 2 * row] for row, answer in enumerate(free[:4])}
    expected = [one_by_one(model, prompt, 20, stop_ids) for prompt in prompts]
    assert len({len(answer) for answer in expected}) > 1  # rows do end at different steps
    for rows in (1, 4, 100):
        monkeypatch.setattr(generate, "BATCH_ROWS", rows)
        got = generate_greedy(model, prompts, stop_ids=stop_ids, limit=20, pad_id=PAD_ID)
        assert got == expected


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize("own", [[1, 30, 7, 2], [1, 1, 1, 1], [0, 12, 3, 30]])
def test_prompts_with_a_shared_beginning_equal_one_by_one(toy_folders, family: str, own: list[int]) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folders[family, True], dtype=torch.float64)
    generator = random.Random(8)
    start = tuple(generator.randrange(3, 400) for _ in range(25))
    prompts = [start + tuple(generator.randrange(3, 400) for _ in range(length)) for length in own]
    expected = [one_by_one(model, prompt, 12, set()) for prompt in prompts]
    assert generate_greedy(model, prompts, stop_ids=(), limit=12, pad_id=PAD_ID) == expected


def test_generation_config_of_the_model_is_not_used(toy_folder: Path, prompts) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folder, dtype=torch.float64)
    plain = generate_greedy(model, prompts, stop_ids=(), limit=8, pad_id=PAD_ID)
    model.generation_config = GenerationConfig(
        do_sample=True, repetition_penalty=5.0, max_new_tokens=2, eos_token_id=list(range(400))
    )
    assert generate_greedy(model, prompts, stop_ids=(), limit=8, pad_id=PAD_ID) == plain


def test_pad_id_changes_nothing(toy_folder: Path, prompts) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folder, dtype=torch.float64)
    first, second = (
        generate_greedy(model, prompts, stop_ids=(), limit=6, pad_id=pad_id) for pad_id in (2, 399)
    )
    assert first == second


def test_progress_counts_every_prompt(toy_folder: Path, prompts, monkeypatch) -> None:
    monkeypatch.setattr(generate, "BATCH_ROWS", 4)
    model = AutoModelForCausalLM.from_pretrained(toy_folder)
    model.train()
    seen: list[int] = []
    generate_greedy(model, prompts, stop_ids=(), limit=1, pad_id=PAD_ID, progress=seen.append)
    assert seen == [4, 4, 1]
    assert model.training


def test_no_prompts_have_no_answers(toy_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folder)
    assert generate_greedy(model, [], stop_ids=(), limit=5, pad_id=PAD_ID) == []


def test_an_answer_may_also_end_by_what_it_says(toy_folder: Path, prompts) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folder)
    free = generate_greedy(model, prompts, stop_ids=(), limit=8, pad_id=PAD_ID)
    ended = generate_greedy(
        model, prompts, stop_ids=(), limit=8, pad_id=PAD_ID, is_done=lambda answer: sum(answer) % 3 == 0
    )
    for whole, short in zip(free, ended, strict=True):
        ends = [length for length in range(1, 9) if sum(whole[:length]) % 3 == 0]
        assert short == whole[: ends[0] if ends else 8]
