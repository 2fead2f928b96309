"""Which models are refused by what their configuration says, and what is filled in."""

from __future__ import annotations

import pytest
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from adatta.core.errors import ModelError
from adatta.model.architecture import EXACT, complete_config, refuse_architecture
from tests.toys.models import ARCHITECTURES

pytestmark = pytest.mark.torch


def config_of(kind, **changes):
    config = CONFIG_MAPPING[kind]().to_dict()
    return config | {"architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]]} | changes


def test_the_architectures_that_are_known_exact_are_those_that_tests_cover():
    classes = [AutoModelForCausalLM._model_mapping[CONFIG_MAPPING[kind]] for kind in ARCHITECTURES]
    assert sorted(EXACT) == sorted(each.__name__ for each in classes)


@pytest.mark.parametrize("kind", [*ARCHITECTURES, "cohere", "olmo3", "glm4", "gpt_neox", "gemma"])
def test_causal_text_models_are_taken(kind):
    refuse_architecture(config_of(kind), kind)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (config_of("gpt2"), "GPT2LMHeadModel"),
        (config_of("opt"), "names no intermediate_size"),
        (config_of("mamba"), "a state that is carried along"),
        (config_of("falcon_h1"), "a state that is carried along"),
        (config_of("lfm2"), "a state that is carried along"),
        (config_of("mixtral"), "experts"),
        (config_of("qwen3_moe"), "experts"),
        (config_of("roberta"), "an encoder"),
        (config_of("whisper"), "an encoder"),
        (config_of("gemma3"), "not a causal text model"),
        (config_of("git"), "images or sound"),
        (config_of("youtu"), "compressed keys"),
        (config_of("olmo3", layer_types=["chunked_attention"] * 32), "layers of chunked_attention"),
        (config_of("gemma3_text", use_bidirectional_attention=True), "see later ones"),
        (config_of("llama", is_encoder_decoder=True), "an encoder and a decoder"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "not a causal text model"),
        ({"architectures": ["OwnForCausalLM"], "model_type": "own", "auto_map": {}}, "is never run"),
        ({"architectures": None, "model_type": "llama"}, "none named"),
    ],
)
def test_others_are_refused_by_name(config, words):
    with pytest.raises(ModelError, match=words) as caught:
        refuse_architecture(config, "some/model")
    assert all(name in str(caught.value) for name in ("some/model", *EXACT))


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(ModelError, match="of a qwen3 can't be used"):
        complete_config({"model_type": "qwen3", "layer_types": ["strange"]})


def test_a_configuration_is_completed_and_what_it_says_is_kept():
    full = complete_config({"model_type": "gemma2", "head_dim": 8, "own": 1})
    assert (full["head_dim"], full["own"]) == (8, 1)
    assert full["tie_word_embeddings"] == AutoConfig.for_model("gemma2").tie_word_embeddings
    assert complete_config({"model_type": "unheard"}) == {"model_type": "unheard"}
