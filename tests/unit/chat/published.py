"""Published chat templates, read from installed packages, each with a small tokenizer that has its tokens."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.unit.chat.families import SENTENCES, write_json

BEGIN, END = "<|bos|>", "<|eos|>"  # what the variables bos_token and eos_token hold here

# Templates that stand in Python source: name in our list, module's file, name of the constant.
IN_SOURCE = {
    "llama4": "models/llama4/processing_llama4.py",
    "smolvlm_processor": "models/smolvlm/processing_smolvlm.py",
    "qwen2_audio": "models/qwen2_audio/processing_qwen2_audio.py",
}

# Of these families no installed package carries the template. docs/limits.md names them too.
NOT_COVERED = (
    *(
        "Mistral",
        "Mixtral",
        "Llama 2 Chat",
        "Falcon",
        "OLMo",
        "Granite",
        "SmolLM3",
        "Command R",
        "Yi",
        "InternLM",
    ),
    *("Phi 4", "Minerva", "Velvet", "EuroLLM", "DeepSeek V3.1", "Kimi K2"),
)

# What the model writes after the prompt, by how the name begins (the first that fits); read off by hand.
ANSWERS = {
    "cohere2": "{answer}<|END_RESPONSE|>",
    "cohere": "{answer}<|END_OF_TURN_TOKEN|>",
    "deepseek": "{answer}<｜end▁of▁sentence｜>",
    "diffusion_gemma": "{answer}<turn|>",
    "gemma4": "{answer}<turn|>",
    "gemma": "{answer}<end_of_turn>",
    "glm4moe": "\n{answer}<|user|>",
    "gptoss": "<|channel|>final<|message|>{answer}<|return|>",
    "idefics3": " {answer}<end_of_utterance>",
    "llama3": "{answer}<|eot_id|>",
    "llama4": "{answer}<|eot|>",
    "llava_next": " {answer}</s>",
    "muse": " to=user<|message|>{answer}<|eot|>",
    "phi3": "{answer}<|end|>",
    "smolvlm": " {answer}<end_of_utterance>",
    "": "{answer}<|im_end|>",
}
THOUGHTS = {
    "deepseek": "{thoughts}\n</think>\n\n",
    "diffusion_gemma": "<|channel>thought\n{thoughts}\n<channel|>",
    "gemma4_v5": "<|channel>thought\n{thoughts}\n<channel|>",
    "glm4moe": "\n<think>{thoughts}</think>",
    "gptoss": "<|channel|>analysis<|message|>{thoughts}<|end|><|start|>assistant",
    "lfm2_2_5": "<think>{thoughts}</think>",
    "muse": " to=self<|message|>{thoughts}<|eom|><|start|>assistant",
    "nemotron_3_nano": "{thoughts}\n</think>\n",
    "nemotron_3_super": "{thoughts}\n</think>\n",
    "nemotron_3": "{thoughts}</think>",
    "qwen3_5": "{thoughts}\n</think>\n\n",
    "qwen3_6": "{thoughts}\n</think>\n\n",
    "qwen3_8": "{thoughts}\n</think>\n\n",
    "qwen3_instruct": None,
    "qwen3_vl": None,
    "qwen3": "<think>\n{thoughts}\n</think>\n\n",
    "": None,
}

_TOKENS = re.compile(
    r"<\|[^|<>\s{}'\"]+\|>"  # <|im_end|>
    r"|<\|[a-z_]+>|<[a-z_]+\|>"  # <|turn> <turn|>
    r"|<｜[^｜\s]+｜>"  # as DeepSeek writes them
    r"|</?[a-z_]+>|<<SYS>>|<</SYS>>"  # <think>
    r"|\[/?[A-Z_]+\]|\[gMASK\]|(?<=['\"])/nothink"
)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def _templates_in(source: str) -> list[str]:
    texts = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [text for text in texts if "{%" in text and "message" in text and "add_generation_prompt" in text]


@cache
def published() -> dict[str, str]:
    """Return every template that an installed package has as text, by name."""
    found = {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted((_package("trl") / "chat_templates").glob("*.jinja"))
    }
    for name, file in IN_SOURCE.items():
        (found[name],) = _templates_in((_package("transformers") / file).read_text(encoding="utf-8"))
    return found


def expected(table: dict[str, str | None], name: str) -> str | None:
    """Look a template up in a table by how its name begins."""
    return next(text for start, text in table.items() if name.startswith(start))


def tokens_of(name: str) -> list[str]:
    """Return the tokens that stand in a template's source, in the order of the first."""
    return [*dict.fromkeys([BEGIN, END, *_TOKENS.findall(published()[name])])]


@cache
def _byte_level() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return str(tokenizer.to_str())


def write_published(folder: Path, name: str) -> Path:
    """Write a model folder without weights: the template, and a tokenizer that has the template's tokens.

    As in the real ones, tags (`<think>`) are added but not special, and Phi's tokens swallow what follows.
    """
    tokenizer = Tokenizer.from_str(_byte_level())
    for token in tokens_of(name):
        is_tag = re.fullmatch(r"</?[a-z_]+>|/nothink", token) is not None and "of_" not in token
        swallows = name.startswith("phi") and token != END
        added = AddedToken(token, special=not is_tag, normalized=False, rstrip=swallows)
        tokenizer.add_tokens([added])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END}
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "config.json", {"eos_token_id": tokenizer.token_to_id(END)})
    (folder / "chat_template.jinja").write_text(published()[name], encoding="utf-8")
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    return folder
