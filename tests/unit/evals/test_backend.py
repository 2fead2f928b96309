"""The harness' backend on forests against the harness' own, on a tiny model in float64."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from adatta.core.errors import EvalError
from adatta.evals.backend import ForestLM
from adatta.model.generate import generate_greedy

pytestmark = pytest.mark.torch

SHOTS = "Domanda: Qual è la capitale d'Italia?\nRisposta: Roma\n\nDomanda: Quanto fa 2 + 2?\nRisposta: 4\n\n"
PAIRS = [
    (SHOTS + "Domanda: Di che colore è il cielo?\nRisposta:", " azzurro"),
    (SHOTS + "Domanda: Di che colore è il cielo?\nRisposta:", " azzurro intenso"),
    (SHOTS + "Domanda: Di che colore è il cielo?\nRisposta:", " verde"),
    (SHOTS + "Domanda: Chi scrisse la Commedia?\nRisposta:", " Dante"),
    ("", "Perché no? Così è."),  # an empty context: the prefix token
    ("Il gatto dorme ", "sul tetto"),  # a space at the end moves to the continuation
    ("a", "b"),
]


def instances(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=each, idx=number)
        for number, each in enumerate(arguments)
    ]


@pytest.fixture(scope="module")
def ours(toy_folder):
    # In float64 our own blocks are more exact than transformers, whose norms go through fp32.
    return ForestLM(str(toy_folder), dtype="float64", device="cpu", max_length=256, engine="forest")


@pytest.fixture(scope="module")
def theirs(toy_folder):
    return HFLM(str(toy_folder), dtype="float64", device="cpu", max_length=256)


@pytest.mark.parametrize("forest_tokens", [4096, 64])
def test_log_probs_and_greedy_flags_are_the_harness_own(ours, theirs, forest_tokens):
    ours.forest_tokens = forest_tokens
    found, expected = (lm.loglikelihood(instances("loglikelihood", PAIRS)) for lm in (ours, theirs))
    for (log_prob, is_greedy), (their_log_prob, their_flag) in zip(found, expected, strict=True):
        assert log_prob == pytest.approx(their_log_prob, abs=1e-9)
        assert is_greedy == their_flag


def test_the_fastest_engine_is_taken_and_as_exact_as_fp32_allows(theirs, toy_folder):
    lm = ForestLM(str(toy_folder), device="cpu", max_length=256)
    assert lm.engine == "fused"
    found, expected = (each.loglikelihood(instances("loglikelihood", PAIRS)) for each in (lm, theirs))
    assert [log_prob for log_prob, _ in found] == pytest.approx([each for each, _ in expected], abs=1e-4)


def test_a_greedy_continuation_is_seen(ours, theirs):
    prompt = tuple(ours.tok_encode("Il mare"))
    (answer,) = generate_greedy(ours.model, [prompt], stop_ids=set(), limit=1, pad_id=0)
    request = [(("x", "y"), list(prompt), list(answer)), (("x", "z"), list(prompt), [(answer[0] + 1) % 50])]
    assert [is_greedy for _, is_greedy in ours._loglikelihood_tokens(request)] == [True, False]
    assert [is_greedy for _, is_greedy in theirs._loglikelihood_tokens(request)] == [True, False]


def test_long_texts_are_scored_in_the_harness_windows(ours, theirs):
    texts = [("Nel mezzo del cammin di nostra vita. " * 40,), ("Breve.",), (SHOTS * 9,)]
    found, expected = (
        lm.loglikelihood_rolling(instances("loglikelihood_rolling", texts)) for lm in (ours, theirs)
    )
    assert found == pytest.approx(expected, abs=1e-9)
    assert ours.batch_size == theirs.batch_size == 1


def test_what_is_too_long_is_cut_as_the_harness_cuts_it_and_named(ours, theirs):
    pair = [(SHOTS * 9, " azzurro")]
    before = len(ours.truncated)
    found, expected = (lm.loglikelihood(instances("loglikelihood", pair)) for lm in (ours, theirs))
    assert found[0][0] == pytest.approx(expected[0][0], abs=1e-9)
    ((text, lost),) = ours.truncated[before:]
    assert text == pair[0][0]
    assert lost == len(ours.tok_encode("".join(pair[0]))) - 257


@pytest.mark.parametrize("until", [["\n\n"], ["e", "o "], [], "a"])
def test_answers_are_the_harness_own(ours, theirs, until):
    prompts = [(prompt or "x", {"until": until, "max_gen_toks": 12}) for prompt, _ in PAIRS]
    found, expected = (lm.generate_until(instances("generate_until", prompts)) for lm in (ours, theirs))
    assert found == expected


def test_an_answer_ends_with_any_of_the_end_ids(ours, monkeypatch):
    request = instances("generate_until", [("Il mare", {"until": [], "max_gen_toks": 9})])
    (whole,) = ours.generate_until(request)
    first = generate_greedy(
        ours.model, [tuple(ours.tok_encode("Il mare"))], stop_ids=set(), limit=1, pad_id=0
    )[0][0]
    monkeypatch.setattr(ours, "stop_ids", {first})
    (short,) = ours.generate_until(request)
    assert len(short) < len(whole)


def test_sampling_is_left_to_the_harness(ours, theirs):
    options = {"until": ["\n"], "max_gen_toks": 6, "do_sample": True, "temperature": 0.7}
    found = []
    for lm in (ours, theirs):
        torch.manual_seed(3)
        found.append(lm.generate_until(instances("generate_until", [("Il mare", options)])))
    assert found[0] == found[1]


def test_an_answer_that_leaves_no_room_for_its_prompt_is_refused(ours):
    with pytest.raises(EvalError, match="max_gen_toks"):
        ours.generate_until(instances("generate_until", [("Il mare", {"until": [], "max_gen_toks": 256})]))


def test_each_result_goes_to_the_harness_cache(ours, monkeypatch):
    kept = []
    monkeypatch.setattr(ours.cache_hook, "add_partial", lambda *one: kept.append(one))
    ours.loglikelihood(instances("loglikelihood", PAIRS[:2]))
    ours.generate_until(instances("generate_until", [("Il", {"until": [], "max_gen_toks": 2})]))
    assert [(name, arguments) for name, arguments, _ in kept] == [
        *(("loglikelihood", pair) for pair in PAIRS[:2]),
        ("generate_until", ("Il", {"until": [], "max_gen_toks": 2})),
    ]


def test_the_harness_finds_it_by_name():
    assert get_model("adatta") is ForestLM
    entries = entry_points(group="lm_eval.models", name="adatta")
    assert [entry.value for entry in entries] == ["adatta.evals.backend:ForestLM"]


def test_the_harness_command_line_knows_it():
    command = [sys.executable, "-m", "adatta.evals.backend", "run", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--model_args" in done.stdout
