"""The toys are what other tests take them for."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.toys.models import FAMILIES, SENTENCES, toy_model

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("family", FAMILIES)
def test_toy_model_is_complete_and_far_from_flat(toy_folders, family):
    folder = toy_folders[family, True]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids_BT = torch.tensor([tokenizer(SENTENCES[0])["input_ids"]])
    logp_TV = model(ids_BT).logits[0].log_softmax(-1)
    entropy = -(logp_TV.exp() * logp_TV).sum(-1).mean().item()
    assert entropy < 4.0  # a flat distribution over 400 tokens has 6.0
    assert tokenizer.decode(ids_BT[0]) == SENTENCES[0]


@pytest.mark.parametrize("tied", [True, False])
def test_toy_model_has_an_output_matrix_only_if_untied(toy_folders, tied):
    with safe_open(toy_folders["llama", tied] / "model.safetensors", framework="pt") as weights:
        assert ("lm_head.weight" not in weights.keys()) == tied  # noqa: SIM118


def test_toy_model_same_seed_gives_the_same_bytes(tmp_path, toy_folder):
    again = toy_model(tmp_path / "again")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (again / name).read_bytes() == (toy_folder / name).read_bytes()
