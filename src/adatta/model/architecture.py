"""Which architectures can be used: ten known to be exact, other causal models of transformers if checked."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from adatta.core.errors import ModelError
from adatta.core.yaml_source import packaged_yaml

_KNOWN = packaged_yaml("adatta.model", "architectures.yaml")
EXACT: tuple[str, ...] = tuple(_KNOWN["exact"])
FUSED: tuple[str, ...] = tuple(_KNOWN["fused"])
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_LAYERS = ("full_attention", "sliding_attention")


def refuse_architecture(config: Mapping[str, Any], name: str) -> None:
    """Refuse a model that isn't a causal transformer over text which transformers itself has the code of.

    Args:
        config: its config.json.
        name: of the model.

    Raises:
        ModelError: saying what it is and what is supported.
    """
    architecture = (config.get("architectures") or ["none named"])[0]
    fault = _fault(config, architecture)
    if fault:
        raise ModelError(
            f"model {name!r} is a {architecture}: {fault}; supported are {', '.join(EXACT)} and other causal "
            "text models of attention layers that transformers has: choose one of these"
        )


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json with what transformers fills in where it says nothing; an unknown one as it is.

    Args:
        config: as stored; files of the Hub leave out what is the rule of their architecture.

    Raises:
        ModelError: if transformers can't make sense of it.
    """
    classes = _tables("configuration_auto").CONFIG_MAPPING
    kind = config.get("model_type")
    if kind not in classes:
        return dict(config)
    try:
        filled: dict[str, Any] = classes[kind].from_dict(dict(config)).to_dict()
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"config.json of a {kind} can't be used ({error}); is it complete?") from error
    return filled | dict(config)


def _tables(name: str) -> ModuleType:
    """Return a module of transformers when it is needed: it takes seconds, and brings torch with it."""
    return importlib.import_module(f"transformers.models.auto.{name}")


def _fault(config: Mapping[str, Any], architecture: str) -> str | None:
    """Say why a model can't be used, if so."""
    if config.get("is_encoder_decoder"):
        return "an encoder and a decoder"
    if config.get("use_bidirectional_attention"):
        return "its tokens see later ones"
    if architecture in EXACT:
        return None
    known = _tables("modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.get("model_type"))
    if architecture != known or not architecture.endswith("ForCausalLM"):
        return "not a causal text model that transformers has the code of (code of a model is never run)"
    full = complete_config(config)
    for what, words in _KNOWN["foreign"].items():
        if any(word in key for key in full for word in words):
            return f"it has {what}"
    odd = sorted(set(full.get("layer_types") or _LAYERS) - set(_LAYERS))
    if odd:
        return f"it has layers of {', '.join(odd)}"
    lacks = [size for size in _SIZES if full.get(size) is None]
    return f"its config.json names no {', '.join(lacks)}" if lacks else None
