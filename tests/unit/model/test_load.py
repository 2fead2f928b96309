"""From any name to files and a loaded model; what can't be used is refused with what to do."""

from __future__ import annotations

import json
import shutil

import httpx2
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub import errors
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adatta.core.errors import ModelError
from adatta.model import files as files_module
from adatta.model.files import locate
from adatta.model.load import fetch, load_model, place_model
from tests.toys.gguf_file import write_toy_gguf
from tests.toys.models import toy_model

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings(
        "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
    ),  # PEFT's own
]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def model(toy_folder, tmp_path):
    return shutil.copytree(toy_folder, tmp_path / "model")


@pytest.fixture
def adapter(toy_folder, tmp_path):
    """An adapter with weights that matter, written by PEFT, whose base is `toy_folder`."""
    torch.manual_seed(7)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(toy_folder), config)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def change_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def logits_of(model):
    with torch.inference_mode():
        return model(torch.arange(3, 60)[None]).logits


def cached_on_hub(toy_folder, hub, repository):
    """Lay a model out as the Hub's cache does."""
    root = hub / f"models--{repository.replace('/', '--')}"
    shutil.copytree(toy_folder, root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)


def test_folder_fingerprint_follows_weights_and_tokenizer_only(model):
    before = fetch(str(model))
    assert (before.kind, before.folder) == ("folder", model)
    (model / "README.md").write_text("no part of the model")
    assert fetch(str(model)).fingerprint == before.fingerprint
    (model / "chat_template.jinja").write_text("another")
    changed = fetch(str(model)).fingerprint
    assert changed != before.fingerprint
    weights = load_file(model / "model.safetensors")
    save_file(weights | {"model.norm.weight": weights["model.norm.weight"] + 1}, model / "model.safetensors")
    assert fetch(str(model)).fingerprint not in (before.fingerprint, changed)


def test_cached_hub_model_is_known_by_its_commit(toy_folder, tmp_path):
    cached_on_hub(toy_folder, tmp_path / "hub", "owner/model")
    for files in (fetch("owner/model"), fetch("owner/model", "main"), fetch(f"owner/model@{COMMIT}")):
        assert (files.kind, files.fingerprint) == ("hub", COMMIT)
        assert (files.folder / "config.json").is_file()


def test_model_that_is_not_cached_offline_says_what_to_do(monkeypatch):
    with pytest.raises(ModelError, match=r"'owner/other' isn't in the Hub's cache, and HF_HUB_OFFLINE"):
        fetch("owner/other")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(ModelError, match=r"the Hub can't be reached; check the connection"):
        fetch("owner/other")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.GatedRepoError, ["gated", "https://huggingface.co/owner/model", "hf auth login"]),
        (errors.RepositoryNotFoundError, ["no model 'owner/model'", "spelling"]),
        (errors.RevisionNotFoundError, ["no revision 'v9'", "/tree"]),
        (errors.HfHubHTTPError, ["'owner/model' at revision 'v9'", "could not be downloaded"]),
    ],
)
def test_refusal_of_the_hub_says_what_to_do(monkeypatch, error, words):
    def refuse(*_args, **_kwargs):
        raise error("refused", response=httpx2.Response(403, request=httpx2.Request("GET", "https://hub")))

    monkeypatch.setattr(files_module, "snapshot_download", refuse)
    with pytest.raises(ModelError) as caught:
        fetch("owner/model", "v9")
    assert all(word in str(caught.value) for word in words)


def test_download_takes_no_pickles_no_code_and_no_second_copy(monkeypatch, toy_folder):
    asked = {}

    def download(repository, **kwargs):
        asked.update(kwargs)
        return str(toy_folder)

    monkeypatch.setattr(files_module, "snapshot_download", download)
    fetch("owner/model")
    offered = [
        *(
            "model-00001-of-00002.safetensors",
            "config.json",
            "tokenizer.json",
            "merges.txt",
            "chat_template.jinja",
        ),
        *(
            "pytorch_model.bin",
            "modeling.py",
            "consolidated.safetensors",
            "original/x.safetensors",
            "onnx/a.json",
        ),
    ]
    taken = huggingface_hub.utils.filter_repo_objects(
        offered, allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"]
    )
    assert list(taken) == offered[:5]


def test_adapter_is_merged_once_and_equals_peft(adapter, toy_folder, tmp_path):
    files = fetch(str(adapter))
    assert files.kind == "adapter"
    assert (files.folder / "tokenizer.json").read_bytes() == (toy_folder / "tokenizer.json").read_bytes()
    assert (files.folder / "chat_template.jinja").exists()
    from peft import AutoPeftModelForCausalLM

    expected = logits_of(AutoPeftModelForCausalLM.from_pretrained(adapter))
    merged = logits_of(load_model(files.folder))
    torch.testing.assert_close(merged, expected, atol=2e-5, rtol=1e-5)
    assert (merged - logits_of(load_model(toy_folder))).abs().max() > 0.1
    before = (files.folder / "model.safetensors").stat().st_mtime_ns
    assert fetch(str(adapter)) == files
    assert (files.folder / "model.safetensors").stat().st_mtime_ns == before


def test_adapter_of_a_base_beside_it_and_locating_without_merging(adapter, toy_folder, tmp_path):
    change = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(change | {"base_model_name_or_path": "../base"}))
    with pytest.raises(ModelError, match=r"\.\./base"):
        fetch(str(adapter))
    shutil.copytree(toy_folder, tmp_path / "base")
    files = locate(str(adapter))
    assert files.parts == (locate(str((tmp_path / "base").resolve())), adapter)
    assert files.folder == (tmp_path / "base").resolve()
    merged = fetch(str(adapter))
    assert (merged.fingerprint, merged.parts) == (files.fingerprint, files.parts)
    assert merged.folder != files.folder


@pytest.mark.parametrize(
    "change",
    [
        lambda w, key: w.update({key: torch.zeros(4, 5)}),
        lambda w, key: w.pop(key),
        lambda w, key: w.update({key.replace("layers.0", "layers.7"): w[key].clone()}),
    ],
)
def test_adapter_that_does_not_fit_is_refused_and_leaves_nothing(adapter, tmp_path, change):
    weights = load_file(adapter / "adapter_model.safetensors")
    change(weights, next(key for key in sorted(weights) if "layers.0" in key))
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="doesn't fit its base"):
        fetch(str(adapter))
    assert not [p for p in (tmp_path / "cache" / "merged").iterdir() if p.suffix not in (".tmp", ".lock")]


def test_adapter_saved_as_a_pickle_is_refused(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="pickles"):
        fetch(str(adapter))


def test_run_means_its_newest_model(model, adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the checkout has runs of its own, they aren't meant
    run = tmp_path / "runs" / "demo"
    shutil.copytree(model, run / "01-sft-abc" / "model")
    shutil.copytree(adapter, run / "02-dpo-def" / "adapter")
    (run / "current.json").write_text(
        json.dumps({"recipe": "demo", "stages": [], "model": "01-sft-abc/model"})
    )
    assert fetch("demo").folder == run / "01-sft-abc" / "model"
    assert fetch("demo").fingerprint == fetch(str(model)).fingerprint
    (run / "current.json").write_text(json.dumps({"stages": [], "model": "02-dpo-def/adapter"}))
    assert fetch("runs/demo").fingerprint == fetch(str(adapter)).fingerprint
    (run / "current.json").write_text(json.dumps({"stages": [], "model": "03-gone/model"}))
    with pytest.raises(ModelError, match="lost its model"):
        fetch("demo")
    (run / "current.json").write_text(json.dumps({"stages": []}))
    with pytest.raises(ModelError, match="no training stage"):
        fetch("demo")


def test_gguf_file_becomes_a_folder_that_loads(toy_folder, tmp_path):
    files = fetch(str(write_toy_gguf(toy_folder, tmp_path / "toy.gguf")))
    assert files.kind == "gguf"
    assert torch.equal(logits_of(load_model(files.folder)), logits_of(load_model(toy_folder)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: change_config(f, architectures=["GPT2LMHeadModel"]),
            ["GPT2LMHeadModel", "Qwen2ForCausalLM"],
        ),
        (lambda f: change_config(f, architectures=None), ["none named", "LlamaForCausalLM"]),
        (lambda f: change_config(f, quantization_config={"bits": 4}), ["quantised"]),
        (lambda f: (f / "tokenizer.json").unlink(), ["lacks tokenizer.json"]),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), ["safetensors", "pickles"]),
        (lambda f: (f / "config.json").write_text("{"), ["config.json can't be read as JSON"]),
        (lambda f: (f / "config.json").write_text("[]"), ["not an object"]),
    ],
)
def test_folder_that_can_not_be_used_is_refused(model, change, words):
    change(model)
    with pytest.raises(ModelError) as caught:
        fetch(str(model))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize(("dtype", "expected"), [("bf16", torch.bfloat16), (torch.float64, torch.float64)])
def test_model_is_loaded_to_score_with(toy_folders, family, dtype, expected):
    model = load_model(toy_folders[family, True], dtype)
    assert {p.dtype for p in model.parameters()} == {expected}
    assert not model.training
    assert not model.config.use_cache
    assert not any(p.requires_grad for p in model.parameters())
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: w.pop("model.layers.1.mlp.up_proj.weight"),
            "missing keys: model.layers.1.mlp.up_proj.weight",
        ),
        (lambda w: w.update(extra=torch.zeros(2)), "unexpected keys: extra"),
        (lambda w: w.update({"model.norm.weight": torch.zeros(3)}), "mismatched keys: ('model.norm.weight'"),
    ],
)
def test_weights_that_do_not_fit_are_refused_not_made_up(model, change, words):
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        load_model(model)
    assert words in str(caught.value)


def test_damaged_weights_are_refused(model):
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(model)


def test_untied_toy_keeps_two_matrices(tmp_path):
    model = load_model(toy_model(tmp_path / "untied", tied=False))
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight


@pytest.mark.parametrize(("free_bytes", "place"), [(2**30, "cuda"), (1000, None)])
def test_a_model_goes_to_a_gpu_that_has_room_for_it(free_bytes, place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free_bytes, 2**40))
    model, moved = torch.nn.Linear(8, 32), []
    model.to = lambda device: moved.append(device) or model
    assert place_model(model) is model
    assert moved == [place] * (place is not None)


def test_without_a_gpu_a_model_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = torch.nn.Linear(2, 2)
    model.to = None
    assert place_model(model) is model
