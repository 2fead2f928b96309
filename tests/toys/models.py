"""Tiny tokenizer and models of the three supported families, complete as on the Hub, built in process."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
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
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
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
    tokenizer = toy_tokenizer(folder)
    config_class, model_class = FAMILIES[family]
    extra = {"sliding_window": SLIDING_WINDOW} if family == "mistral" else {}
    config = config_class(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **extra,
    )
    model = model_class(config)
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
