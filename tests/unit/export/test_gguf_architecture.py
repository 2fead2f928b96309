"""llama.cpp's logits against transformers', for each architecture that is written; what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from transformers import AutoConfig, AutoModelForCausalLM

from adatta.core.errors import ExportError
from adatta.export import gguf_architecture, gguf_writer
from adatta.export.gguf_architecture import FAMILIES, check_exportable, context_length
from tests.toys.exports import write_toy
from tests.toys.llama_cpp import LlamaCpp
from tests.toys.models import CONTEXT, SLIDING_WINDOW, VOCABULARY, save_toy, toy_config, toy_tokenizer

pytestmark = pytest.mark.torch
F32_LIMIT = 1e-3  # of the logits' standard deviation; ggml adds up in other orders
F16_LIMITS = (0.02, 0.003)  # largest and median, of the same
PLAIN = 3  # "!"
SHORT, LONG = 12, 40  # tokens; more than twice the window
_MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": SLIDING_WINDOW}
_GEMMA = {"tie_word_embeddings": True, "head_dim": 16, "query_pre_attn_scalar": 16}
_YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 2.0, 4.0, 8.0],
}
_ALL_LOCAL = {"layer_types": ["sliding_attention"] * 46}
_ODD = ["full_attention", "sliding_attention", "sliding_attention"]
# What each has of its own; by a name that begins with its `model_type`. Widths are not multiples of 32.
CASES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True, "attention_bias": True},
    "llama wide": {"head_dim": 16, "mlp_bias": True},
    "llama llama3": {"rope_parameters": _LLAMA3},
    "llama linear": {"rope_parameters": _LINEAR},
    "llama yarn": {"rope_parameters": _YARN},
    "mistral": {"sliding_window": None, "head_dim": 16},
    "qwen2": {},
    "qwen2 yarn": {"rope_parameters": _YARN},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 16},
    "qwen3 linear": {"rope_parameters": _LINEAR, "head_dim": 16},
    "gemma2": {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 8.0, **_GEMMA, **_MIXED},
    "gemma3_text": {
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "sliding_window": SLIDING_WINDOW,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": _LINEAR,
        },
        **_GEMMA,
    },
    "phi3": {"sliding_window": None},
    "phi3 part": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    },
    "phi3 longrope": {
        "rope_parameters": _LONGROPE,
        "original_max_position_embeddings": 256,  # llama.cpp's context is a multiple of this
        "tie_word_embeddings": True,
        "sliding_window": None,
    },
}


def make(folder: Path, case: str, **changes: Any) -> Path:
    toy_tokenizer(folder)
    config = toy_config(case.split()[0], **{**CASES[case], **changes})
    return save_toy(AutoModelForCausalLM.from_config(config), folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {case: make(root / case.replace(" ", "-"), case) for case in CASES}


def ids_of(length: int) -> list[int]:
    return torch.randint(3, VOCABULARY, (length,), generator=torch.Generator().manual_seed(7)).tolist()


class TableGelu(torch.nn.Module):
    """GELU as ggml computes it on a CPU: from a table of 16-bit floats."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x.half().float(), approximate="tanh").half().float()


def differences(
    folder: Path, path: Path, *, context: int = 64, lengths: Sequence[int] = (SHORT, LONG)
) -> Any:
    """Return how far llama.cpp's log-probs are from transformers', in standard deviations of its logits."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    for layer in model.model.layers if model.config.model_type.startswith("gemma") else ():
        layer.mlp.act_fn = TableGelu()
    server = LlamaCpp(path, context=context, is_exact=True)
    found = []
    for length in lengths:
        ids = ids_of(length)
        with torch.inference_mode():
            logits_V = model(torch.tensor([ids])).logits[0, -1].double()
        theirs = server.next_log_probs(ids, VOCABULARY, plain=PLAIN)
        ours_V = logits_V.log_softmax(-1)
        found += [abs(float(ours_V[token]) - logp) / float(logits_V.std()) for token, logp in theirs.items()]
    return np.array(found)


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_what_transformers_does(folders, tmp_path: Path, case: str) -> None:
    found = differences(folders[case], write_toy(folders[case], tmp_path, "f32"))
    assert len(found) > 2 * VOCABULARY - 4
    assert found.max() < F32_LIMIT
    rounded = differences(folders[case], write_toy(folders[case], tmp_path, "f16"))
    print(case, found.max(), rounded.max(), np.median(rounded))
    assert rounded.max() < F16_LIMITS[0]
    assert np.median(rounded) < F16_LIMITS[1]


@pytest.mark.parametrize(
    ("case", "broken", "without"),
    [
        ("llama", "_join_halves", lambda weight, heads: weight),
        ("llama llama3", "rope_tensors", lambda config: {}),
        ("gemma2", "_as_factor", lambda weight: weight),
        ("gemma3_text", "_as_factor", lambda weight: weight),
    ],
)
def test_what_is_left_out_is_seen(
    folders, tmp_path, monkeypatch, case: str, broken: str, without: Any
) -> None:
    for module in (gguf_architecture, gguf_writer):
        monkeypatch.setattr(module, broken, without, raising=False)
    assert differences(folders[case], write_toy(folders[case], tmp_path, "f32")).max() > 0.02


@pytest.mark.parametrize(
    ("case", "key"),
    [
        ("gemma3_text", "add_sliding_window_pattern"),
        ("gemma2", "add_attn_logit_softcapping"),
        ("gemma2", "add_final_logit_softcapping"),
        ("gemma3_text", "add_rope_freq_base_swa"),
        ("gemma3_text", "add_sliding_window"),
        ("qwen3 linear", "add_rope_scaling_factor"),
        ("qwen2 yarn", "add_rope_scaling_type"),
        ("phi3 part", "add_rope_dimension_count"),
        ("phi3 longrope", "add_rope_scaling_attn_factors"),
    ],
)
def test_a_size_that_is_not_written_is_seen(folders, tmp_path, monkeypatch, case: str, key: str) -> None:
    monkeypatch.setattr(GGUFWriter, key, lambda *_: None)
    assert differences(folders[case], write_toy(folders[case], tmp_path, "f32")).max() > 0.02


def test_longrope_has_its_long_factors_in_a_long_context(folders, tmp_path, monkeypatch) -> None:
    """The file's context ends where transformers changes factors; llama.cpp changes them with the context."""
    folder = folders["phi3 longrope"]
    assert context_length(AutoConfig.from_pretrained(folder), FAMILIES["phi3"]) == 256 < CONTEXT
    monkeypatch.setattr(gguf_architecture, "context_length", lambda config, family: CONTEXT)
    path = write_toy(folder, tmp_path, "f32")
    assert differences(folder, path, context=CONTEXT, lengths=[300]).max() < F32_LIMIT
    assert differences(folder, path, context=CONTEXT, lengths=[SHORT]).max() > 0.02


@pytest.mark.parametrize("case", ["mistral", "qwen3", "phi3"])
def test_window_that_llama_cpp_lacks_becomes_the_context(tmp_path: Path, case: str) -> None:
    window = {"sliding_window": SLIDING_WINDOW}
    if case == "qwen3":
        window |= {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]}
    folder = make(tmp_path / "model", case, **window)
    path = write_toy(folder, tmp_path, "f32")
    family = FAMILIES[case]
    assert context_length(AutoConfig.from_pretrained(folder), family) == SLIDING_WINDOW < CONTEXT
    assert differences(folder, path, lengths=[SLIDING_WINDOW - 1]).max() < F32_LIMIT
    with pytest.raises(HTTPError):  # llama.cpp's server refuses what is longer
        differences(folder, path, lengths=[LONG])


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("granite", {}, "'granite' models isn't possible; supported: llama, mistral, qwen2, qwen3, gemma2"),
        ("qwen2", {"rope_parameters": _LLAMA3}, "'llama3' rotary positions for it"),
        ("llama", {"rope_parameters": {**_YARN, "truncate": False}}, "yarn with truncate"),
        ("llama", {"rope_parameters": {**_LINEAR, "partial_rotary_factor": 0.5}}, "on a part of each head"),
        ("llama", {"hidden_act": "gelu"}, "the activation gelu"),
        ("phi3", {"head_dim": 16}, "wider or narrower"),
        ("gemma2", {**CASES["gemma2"], "query_pre_attn_scalar": 24}, "query_pre_attn_scalar 24, but 16"),
        (
            "gemma2",
            {**CASES["gemma2"], "num_hidden_layers": 46, **_ALL_LOCAL},
            "query_pre_attn_scalar 16, but 8",
        ),
        ("gemma2", {**CASES["gemma2"], "final_logit_softcapping": None}, r"the soft caps \(2.0, None\)"),
        ("gemma3_text", {**CASES["gemma3_text"], "final_logit_softcapping": 8.0}, "the soft caps"),
        (
            "gemma3_text",
            {**CASES["gemma3_text"], "layer_types": _ODD},
            "the order of local and global layers",
        ),
    ],
)
def test_what_llama_cpp_computes_differently_is_refused(kind: str, changes: dict, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        check_exportable(toy_config(kind, **changes))


def test_scaled_positions_in_local_layers_are_refused() -> None:
    case = CASES["gemma3_text"]
    both = dict.fromkeys(("sliding_attention", "full_attention"), _LINEAR)
    with pytest.raises(ExportError, match="scaled positions in local layers"):
        check_exportable(toy_config("gemma3_text", **{**case, "rope_parameters": both}))
