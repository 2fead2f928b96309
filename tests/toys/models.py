"""Tiny tokenizer and models of ten architectures, complete as on the Hub, built in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
VOCABULARY = 400
CONTEXT = 512
SLIDING_WINDOW = 16
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# What each architecture has of its own, so small that rows of 45 tokens show it; by its `model_type`. Global
# and local layers are mixed wherever a model of that kind may mix them.
_MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": SLIDING_WINDOW}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": SLIDING_WINDOW},
    "qwen2": {"use_sliding_window": True, **_MIXED},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 16, "use_sliding_window": True, **_MIXED},
    "gemma2": {
        "tie_word_embeddings": True,
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 8.0,
        **_MIXED,
    },
    "gemma3_text": {
        "tie_word_embeddings": True,
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
        },
        **_MIXED,
    },
    "phi3": {"sliding_window": SLIDING_WINDOW, "resid_pdrop": 0.1},
    "olmo2": {},
    "smollm3": {
        "tie_word_embeddings": True,
        "no_rope_layers": [1, 0],
        "use_sliding_window": True,
        **_MIXED,
    },
    "granite": {
        "tie_word_embeddings": True,
        "attention_dropout": 0.1,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.7,
        "logits_scaling": 2.0,
    },
}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SENTENCES = (
    "Qual è la capitale d'Italia? La capitale d'Italia è Roma.",
    "Perché il mare è salato? Perché i fiumi portano sale dalla terra al mare.",
    "La città più grande della Lombardia è Milano, che ha più di un milione di abitanti.",
    "Scrivi una lettera formale al Comune per chiedere un certificato di residenza.",
    "L'acqua bolle a 100 gradi; nel 1861 l'Italia fu unita, e nel 1946 nacque la Repubblica.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta. Posso fare altro per te?",
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura.",
    "Un chilo di farina, due uova, un po' di sale: ecco tutto ciò che serve.",
    "Il gatto dorme sul divano, mentre il cane corre nel giardino della nonna.",
    "The capital of Italy is Rome, and water boils at one hundred degrees.",
)


def toy_tokenizer(folder: Path) -> Tokenizer:
    """Train a byte-level BPE on `SENTENCES` (digits split first, as SmolLM does) and write its files.

    Writes tokenizer.json, tokenizer_config.json and chat_template.jinja; ids 0, 1, 2 are the special tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": TURN_START,
        "eos_token": TURN_END,
        "pad_token": TURN_END,
        "unk_token": END_OF_TEXT,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return tokenizer


def toy_model(folder: Path, family: str = "llama", *, tied: bool = True, seed: int = 0) -> Path:
    """Write a complete model folder: 2 layers, hidden size 32, grouped queries, fp32 safetensors, tokenizer.

    Every parameter is random, norms and biases too, and large enough that distributions are far from flat, so
    that a forgotten one shows. Mistral has a sliding window of `SLIDING_WINDOW` tokens.

    Args:
        folder: where the files go; made if missing.
        family: `llama`, `mistral` or `qwen2`.
        tied: whether the output matrix is the embedding.
        seed: decides the weights; the global random state is left as it was.

    Returns:
        The folder.
    """
    config_class, model_class = FAMILIES[family]
    extra = {"sliding_window": SLIDING_WINDOW} if family == "mistral" else {}
    toy_tokenizer(folder)
    config = config_class(tie_word_embeddings=tied, **_SIZES, **extra)
    return save_toy(model_class(config), folder, seed=seed)


def toy_architecture(folder: Path, name: str, *, seed: int = 0) -> Path:
    """Write a model folder as `toy_model` does, of one of the ten `ARCHITECTURES`.

    Args:
        folder: where the files go; made if missing.
        name: a key of `ARCHITECTURES`.
        seed: decides the weights.

    Returns:
        The folder.
    """
    toy_tokenizer(folder)
    config = toy_config(name, **ARCHITECTURES[name])
    return save_toy(AutoModelForCausalLM.from_config(config), folder, seed=seed)


def toy_config(name: str, **own: Any) -> PreTrainedConfig:
    """Return the configuration of a toy of any `model_type`, with what it has of its own."""
    return AutoConfig.for_model(name, **{"tie_word_embeddings": False, **_SIZES, **own})


def save_toy(model: PreTrainedModel, folder: Path, *, seed: int = 0) -> Path:
    """Write a model to the folder of its tokenizer, every parameter random."""
    _randomise(model, seed)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=[2, 0], pad_token_id=2)
    model.save_pretrained(folder)
    return folder


def _randomise(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                parameter.copy_(1.0 + 0.1 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.1 * noise)
            elif parameter.shape[0] == VOCABULARY:
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)


def toy_wide(folder: Path, *, layers: int = 2, seed: int = 0, **own: Any) -> Path:
    """Write a Llama whose rows blocks of 256 divide."""
    toy_tokenizer(folder)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": layers, **own}
    return save_toy(AutoModelForCausalLM.from_config(toy_config("llama", **sizes)), folder, seed=seed)
