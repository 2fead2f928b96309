"""What every engine keeps to: ids one by one, stop ids, the limit, seeds, and the model's own choice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adatta.core.errors import ModelError
from adatta.core.registry import load_registry
from adatta.model.engine import Engine, Sampling
from tests.toys.exports import write_toy

pytestmark = pytest.mark.torch
ENGINES = load_registry("adatta.model.engines")
CONTEXT = (5, 77, 130, 8, 301, 42)


@pytest.fixture(scope="module")
def paths(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("gguf")
    return {"llamacpp": write_toy(toy_folder, out)}


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, paths: dict[str, Path], toy_folder: Path) -> Iterator[Engine]:
    options = {"threads": 1} if request.param == "llamacpp" else {}
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
