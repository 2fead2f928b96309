"""What every engine keeps to: ids one by one, stop ids, the limit, seeds, and the model's own choice.

vLLM is a stand-in with its documented signatures (tests/toys/vllm.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adatta.core.errors import MissingExtraError, ModelError
from adatta.core.registry import load_registry
from adatta.model.engine import Engine, Sampling
from tests.toys import vllm
from tests.toys.exports import write_toy

pytestmark = pytest.mark.torch
ENGINES = load_registry("adatta.model.engines")
CONTEXT = (5, 77, 130, 8, 301, 42)
# The GGUF file holds 16 bits, and llama.cpp attends in half precision.
NATS = {"llamacpp": 0.02, "transformers": 1e-4, "vllm": 1e-4}


@pytest.fixture(scope="module")
def paths(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("gguf")
    return {"llamacpp": write_toy(toy_folder, out)}


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, paths: dict[str, Path], toy_folder: Path) -> Iterator[Engine]:
    options = {"threads": 1} if request.param == "llamacpp" else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "vllm", vllm)
        with ENGINES[request.param](paths.get(request.param, toy_folder), context=128, **options) as opened:
            yield opened


@pytest.fixture(scope="module")
def model(toy_folder: Path):
    return AutoModelForCausalLM.from_pretrained(toy_folder, dtype=torch.float64)


def greedy(engine: Engine, limit: int = 24, stop_ids: tuple[int, ...] = ()) -> list[int]:
    return list(engine.stream(CONTEXT, Sampling(stop_ids=stop_ids, limit=limit, seed=0)))


def test_greedy_takes_the_likeliest_id_at_every_step(engine: Engine, model) -> None:
    ids = list(CONTEXT)
    for token in greedy(engine):
        with torch.inference_mode():
            logits_V = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        assert token == int(logits_V.argmax())
        ids.append(token)


def test_greedy_is_deterministic(engine: Engine) -> None:
    assert greedy(engine) == greedy(engine)


def test_stream_gives_each_id_before_the_next_is_made(engine: Engine) -> None:
    stream = engine.stream(CONTEXT, Sampling(stop_ids=(), limit=100, seed=0))
    assert list(islice(stream, 3)) == greedy(engine, limit=3)


def test_stream_ends_with_the_first_stop_id(engine: Engine) -> None:
    free = greedy(engine)
    stop = free[5]
    assert greedy(engine, stop_ids=(stop, 399)) == free[: free.index(stop) + 1]


def test_stream_yields_at_most_limit(engine: Engine) -> None:
    assert len(greedy(engine, limit=7)) == 7
    assert greedy(engine, limit=0) == []


def test_same_seed_gives_the_same_sample(engine: Engine) -> None:
    def sample(seed: int) -> list[int]:
        sampling = Sampling(stop_ids=(), limit=12, seed=seed, temperature=1.5)
        return list(engine.stream(CONTEXT, sampling))

    assert sample(1) == sample(1)
    assert len({tuple(sample(seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_samples_follow_the_model_at_that_temperature(engine: Engine, model, temperature: float) -> None:
    with torch.inference_mode():
        logits_V = model(torch.tensor([CONTEXT])).logits[0, -1]
    chance_V = (logits_V / temperature).softmax(-1)
    best, draws = int(logits_V.argmax()), 150
    samplings = [Sampling(stop_ids=(), limit=1, seed=seed, temperature=temperature) for seed in range(draws)]
    drawn = [next(iter(engine.stream(CONTEXT, sampling))) for sampling in samplings]
    expected = float(chance_V[best])
    # 4 standard deviations of a binomial share; the seeds are fixed, so this never flickers.
    assert abs(drawn.count(best) / draws - expected) < 4 * (expected * (1 - expected) / draws) ** 0.5


def test_what_does_not_fit_into_the_context_is_refused(engine: Engine) -> None:
    assert engine.context == 128
    for ids, limit in (([3] * 100, 29), ([], 5)):
        with pytest.raises(ModelError, match="at most 128 together"):
            list(engine.stream(ids, Sampling(stop_ids=(), limit=limit, seed=0)))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_candidates_are_the_answers_of_their_seeds(engine: Engine, temperature: float) -> None:
    sampling = Sampling(stop_ids=(), limit=6, seed=3, temperature=temperature)
    found = engine.candidates(CONTEXT, sampling, count=4)
    assert found == [tuple(engine.stream(CONTEXT, replace(sampling, seed=3 + n))) for n in range(4)]
    assert (len(set(found)) == 1) == (temperature == 0)
    assert engine.candidates(CONTEXT, sampling, count=0) == []


def test_candidates_end_with_the_first_stop_id(engine: Engine) -> None:
    stop = greedy(engine)[2]
    (answer,) = engine.candidates(CONTEXT, Sampling(stop_ids=(stop,), limit=9, seed=0), count=1)
    assert answer.index(stop) == len(answer) - 1 <= 2


def test_log_probs_are_the_model_s(engine: Engine, model) -> None:
    continuations = [(9, 350, 12), (9,), (), (130, 131, 132, 133), (2, 9)]
    found = engine.log_probs(CONTEXT, continuations)
    assert [len(scores) for scores in found] == [len(each) for each in continuations]
    name = next(name for name, kind in ENGINES.items() if isinstance(engine, kind))
    for ids, scores in zip(continuations, found, strict=True):
        with torch.inference_mode():
            logp_TV = model(torch.tensor([CONTEXT + ids])).logits[0].log_softmax(-1)
        expected = [float(logp_TV[len(CONTEXT) - 1 + place, token]) for place, token in enumerate(ids)]
        assert scores == pytest.approx(expected, abs=NATS[name])


def test_scoring_leaves_answers_as_they_are(engine: Engine) -> None:
    before = greedy(engine)
    engine.log_probs(CONTEXT, [(9, 350), (4,)])
    assert greedy(engine) == before


def test_what_does_not_fit_is_neither_drawn_nor_scored(engine: Engine) -> None:
    with pytest.raises(ModelError, match="at most 128 together"):
        engine.candidates([3] * 100, Sampling(stop_ids=(), limit=29, seed=0), count=2)
    with pytest.raises(ModelError, match="at most 128 together"):
        engine.log_probs([3] * 100, [(4,), (5,) * 29])


def test_answer_that_is_left_leaves_nothing_behind(engine: Engine) -> None:
    stream = engine.stream(CONTEXT, Sampling(stop_ids=(), limit=100, seed=0))
    first = next(stream)
    stream.close()
    assert greedy(engine)[0] == first


def test_vllm_that_is_missing_names_its_extra(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"adatta\[vllm\]"):
        ENGINES["vllm"](toy_folder)
