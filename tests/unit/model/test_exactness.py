"""Architectures that nobody has tried here: found exact, or scored by transformers itself."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from adatta.core.errors import EvalError, ExactnessError, ModelError
from adatta.model import attend as attending
from adatta.model.attention.branches import Branches
from adatta.model.exactness import choose_engine
from adatta.model.forest import build_forest
from adatta.model.generate import generate_greedy
from adatta.model.load import load_model, peft_without_noise
from adatta.model.score import score
from adatta.pipeline.measuring import evaluate_models
from tests.toys.models import save_toy, toy_config, toy_tokenizer
from tests.toys.rows import branching_rows, token_row

pytestmark = pytest.mark.torch

FOREST = build_forest(branching_rows())
IDS = [(7 * number * number + 11 * number) % 397 + 3 for number in range(64)]
SLIDING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 24}


@pytest.fixture
def toy(tmp_path):
    """Return a function that makes a model of any kind, written and loaded as every model is."""

    def make(kind, **own):
        toy_tokenizer(tmp_path)
        save_toy(AutoModelForCausalLM.from_config(toy_config(kind, **own)), tmp_path)
        return load_model(tmp_path)

    return make


@pytest.mark.parametrize(("kind", "own"), [("cohere2", {**SLIDING, "logit_scale": 0.5}), ("olmo3", SLIDING)])
def test_an_architecture_that_is_found_exact_is_scored_in_forests(toy, kind, own):
    model = toy(kind, **own)
    for asked, found in {"auto": "forest", "forest": "forest", "plain": "plain"}.items():
        assert choose_engine(model, IDS, engine=asked) == found
    assert (score(model, FOREST) - score(model, FOREST, engine="plain")).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("granite_swa", "differs from plain"),  # attention sinks
        ("phi", "one plain matrix"),  # a bias of the head
        ("modernbert-decoder", "doesn't let its attention be replaced"),
        ("stablelm", "can't compute a StableLmForCausalLM"),
    ],
)
def test_an_architecture_that_differs_is_scored_by_transformers_itself(toy, caplog, kind, words):
    model = toy(kind)
    before = score(model, FOREST, engine="plain")
    assert choose_engine(model, IDS, engine="auto") == "plain"
    assert words in caplog.text
    with pytest.raises(ExactnessError, match=words):
        choose_engine(model, IDS, engine="forest")
    assert torch.equal(score(model, FOREST, engine="plain"), before)
    fresh = generate_greedy(toy(kind), [(5, 6, 7)], stop_ids=(), limit=6, pad_id=2)
    assert generate_greedy(model, [(5, 6, 7)], stop_ids=(), limit=6, pad_id=2) == fresh


def test_a_window_that_is_longer_than_the_rows_is_checked_too(toy, monkeypatch):
    """An engine that forgets windows is found out, although rows of 64 tokens never reach one of 4096."""
    model = toy("olmo3", **SLIDING | {"sliding_window": 4096})
    assert choose_engine(model, IDS, engine="auto") == "forest"
    real = Branches.attend

    def without_window(*args, rule, **states):
        return real(*args, **states, rule=rule._replace(window=None))

    monkeypatch.setattr(Branches, "attend", without_window)
    assert score(model, FOREST) == pytest.approx(score(model, FOREST, engine="plain"), abs=1e-4)
    assert choose_engine(model, IDS, engine="auto") == "plain"
    assert {layer.self_attn.sliding_window for layer in model.model.layers} == {4096, None}
    assert model.config.sliding_window == 4096


def test_an_adapted_model_is_checked_as_its_base(toy):
    with peft_without_noise():
        model = get_peft_model(toy("olmo3", **SLIDING), LoraConfig(target_modules=["q_proj"]))
    assert choose_engine(model, IDS, engine="auto") == "forest"


@pytest.mark.parametrize("rope_type", ["longrope", "dynamic"])
def test_positions_that_depend_on_the_longest_row_are_refused_where_they_would(tmp_path, rope_type):
    """A short row beside a long one would be rotated as the long one is; transformers alone doesn't."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4} if rope_type == "longrope" else {}
    rope = {"rope_type": rope_type, "factor": 4.0, "rope_theta": 100.0, **factors}
    own = {"original_max_position_embeddings": 32} if rope_type == "longrope" else {"sliding_window": None}
    toy_tokenizer(tmp_path)
    kind = {"longrope": "phi3", "dynamic": "llama"}[rope_type]
    config = toy_config(kind, rope_parameters=rope, **own | {"max_position_embeddings": 32})
    save_toy(AutoModelForCausalLM.from_config(config), tmp_path)
    model = load_model(tmp_path, torch.float64)
    short, long, longer = (token_row(tuple(range(9, 9 + n)), unscored=1, row_id=str(n)) for n in (20, 40, 50))
    with pytest.raises(ModelError, match="rows of 20 and 40 are computed together; set context: 32"):
        score(model, build_forest([short, long]))
    with torch.no_grad():
        forests = [build_forest([short]), build_forest([long], share_prefix=False)]
        forests += [build_forest([long, longer])] if rope_type == "longrope" else []
        for forest in forests:
            assert (score(model, forest) - score(model, forest, engine="plain")).abs().max() <= 1e-9


def test_what_the_forest_took_is_given_back(toy):
    model = toy("olmo3", **SLIDING)
    score(model, FOREST)
    assert model.config._attn_implementation == attending.NAME
    attending.give_back(model)
    assert model.config._attn_implementation == "sdpa"
    assert AutoConfig.from_pretrained(model.name_or_path).model_type == "olmo3"


@pytest.mark.parametrize(("kind", "engine"), [("olmo3", "forest"), ("stablelm", "plain")])
def test_models_are_measured_by_an_engine_that_was_checked(toy, tmp_path, work, monkeypatch, kind, engine):
    toy(kind)
    asked = []

    def ask(*arguments, **options):
        asked.append(options["engine"])
        raise EvalError("enough")

    monkeypatch.setattr("adatta.evals.runner.evaluate_model", ask)
    settings = ["context=64", "precision=fp32"]
    with pytest.raises(EvalError, match="enough"):
        evaluate_models([str(tmp_path)], suites=["offline"], overrides=settings, name="n")
    assert asked == [engine]
