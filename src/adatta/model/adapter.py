"""What a stage trains: a new adapter on a plain or 4-bit base, or all weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adatta.core.errors import RecipeError
from adatta.core.settings import AdapterSettings
from adatta.model.files import ADAPTER_WEIGHTS, ALSO_WEIGHTS
from adatta.model.linear import widen
from adatta.model.load import DTYPES, free_bytes, load_model, peft_without_noise
from adatta.model.name import ADAPTER_CONFIG
from adatta.model.quantise import quantise_base

Method = Literal["qlora", "lora", "full"]
FULL_WEIGHTS = "model.safetensors"
_KEEP_SHARE = 0.5  # of the free memory may go to dequantised weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainable:
    """A model that is ready to train.

    `base` says how the base is held: `plain`, `dequantised` or `four-bit`; `autocast` is the dtype of
    products where the weights themselves are wider (all weights trained in bf16), else None. `quantised`
    names the layers that went through 4 bits.
    """

    model: Any
    method: Method
    base: str
    autocast: torch.dtype | None = None
    quantised: tuple[str, ...] = ()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained, by name; a tied tensor once."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def computing(self) -> torch.autocast:
        """Let products inside be computed in the precision that was asked for."""
        device = self.model.get_input_embeddings().weight.device.type
        return torch.autocast(device, self.autocast, enabled=self.autocast is not None)


def load_trainable(
    folder: Path, *, method: Method, settings: AdapterSettings, precision: str, seed: int
) -> Trainable:
    """Load a stage's input model, with a new adapter on it unless all weights are trained.

    Args:
        folder: the stage's input model.
        method: `qlora`, `lora` or `full`.
        settings: of the adapter; not used with `full`.
        precision: `fp32` or `bf16`: the base's weights; adapters, and all weights with `full`, are fp32.
        seed: decides the adapter's start.

    Raises:
        RecipeError: if a target names no linear layer of the model.
    """
    base = load_base(folder, method=method, precision=precision)
    if method == "full":
        base.model.requires_grad_(True)
        return base
    model = add_adapter(base.model, settings, seed=seed, base_name=str(folder))
    _open([weight for name in settings.also for weight in _find_also(base.model, name)])
    return replace(base, model=model)


def load_base(folder: Path, *, method: Method, precision: str) -> Trainable:
    """Load a model as a stage trains on it, frozen and without adapter.

    Args:
        folder: the model.
        method: `qlora` quantises its linear layers; dequantised once where half of the free memory is
            enough for that.
        precision: `fp32` or `bf16`; with `full` the weights are fp32 all the same.
    """
    dtype = DTYPES[precision]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if method == "full":
        model: Any = load_model(folder, torch.promote_types(dtype, torch.float32)).to(device)
        autocast = dtype if dtype == torch.bfloat16 else None
        return Trainable(model=model, method=method, base="plain", autocast=autocast)
    model = load_model(folder, dtype if dtype != torch.bfloat16 else "auto").to(device)
    if dtype == torch.bfloat16:
        narrow_products(model)
    if method == "lora":
        return Trainable(model=model, method=method, base="plain")
    layers = tuple(linear_layers(model))
    weights = sum(model.get_submodule(name).weight.nbytes for name in layers)
    dequantise = weights <= _KEEP_SHARE * (free_bytes() + weights)
    quantise_base(model, layers, dequantise=dequantise)
    held = "dequantised" if dequantise else "four-bit"
    return Trainable(model=model, method=method, base=held, quantised=layers)


def narrow_products(model: Any) -> None:
    """Turn weights of products into bf16; norms, biases and embeddings stay as wide as they are stored."""
    for parameter in model.parameters():
        if parameter.dtype == torch.float16:
            parameter.data = parameter.data.float()
    for name in linear_layers(model):
        weight = model.get_submodule(name).weight
        weight.data = weight.data.bfloat16()


def load_trained(base_folder: Path, trained_folder: Path, *, method: Method, precision: str) -> Trainable:
    """Load what a stage left, as it was trained: its adapter on its base, or all weights.

    Args:
        base_folder: the stage's input model.
        trained_folder: what `save_trained` wrote.
        method: of the stage.
        precision: of the stage.
    """
    base = load_base(base_folder, method=method, precision=precision)
    if method == "full":
        base.model.load_state_dict(load_file(trained_folder / FULL_WEIGHTS), strict=False)
        return base
    also = read_also(trained_folder)
    model = wrap_adapter(base.model, trained_folder)
    _open([base.model.get_parameter(name) for name in also])
    base.model.load_state_dict(also, strict=False)
    return replace(base, model=model)


def read_also(folder: Path) -> dict[str, Tensor]:
    """Return what of the base was trained beside an adapter, by its name in the base; mostly nothing."""
    path = folder / ALSO_WEIGHTS
    return load_file(path) if path.exists() else {}


def wrap_adapter(model: Any, folder: Path) -> Any:
    """Return a PEFT model around `model` with the adapter of a folder."""
    with peft_without_noise():
        return PeftModel.from_pretrained(model, str(folder)).eval()


def linear_layers(model: Any) -> list[str]:
    """Return the names of all linear layers but the output head, in the model's order."""
    head = model.get_output_embeddings()
    return [
        name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and layer is not head
    ]


def add_adapter(model: Any, settings: AdapterSettings, *, seed: int, base_name: str) -> Any:
    """Return a PEFT model with a new adapter: A drawn from `seed`, B zero, so that nothing changes yet.

    Args:
        model: the base, frozen.
        settings: of the adapter.
        seed: decides the start; the global random state is left as it was.
        base_name: what the adapter's configuration calls the base.

    Raises:
        RecipeError: if a target names no linear layer of the model.
    """
    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_name,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        bias="none",
        target_modules=_targets(model, settings.targets),
    )
    with torch.random.fork_rng(), peft_without_noise():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    for layer in (layer for layer in adapted.modules() if getattr(layer, "lora_magnitude_vector", None)):
        # PEFT rounds the lengths to the base's dtype, so that a narrow base would not start as itself.
        weight_OI = dequantize_module_weight(layer.get_base_layer()).float()
        layer.lora_magnitude_vector["default"].weight.data = torch.linalg.norm(weight_OI, dim=1)
    return adapted


def save_trained(trainable: Trainable, folder: Path) -> None:
    """Write what was trained: an adapter as PEFT reads it, or all weights, with names as in the base.

    Args:
        trainable: the trained model.
        folder: made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if trainable.method == "full":
        write_tensors(folder / FULL_WEIGHTS, trainable.parameters())
        return
    config = trainable.model.peft_config["default"].to_dict()
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    config["inference_mode"] = True
    write_tensors(folder / ADAPTER_WEIGHTS, get_peft_model_state_dict(trainable.model))
    named = trainable.model.get_base_model().named_parameters()
    also = {name: value for name, value in named if value.requires_grad and ".lora_" not in name}
    if also:
        write_tensors(folder / ALSO_WEIGHTS, also)
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors as safetensors, on the CPU and contiguous, in the order of their names."""
    plain: dict[str, Tensor] = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    save_file(plain, str(path), metadata={"format": "pt"})


def _find_also(model: Any, what: str) -> list[nn.Parameter]:
    """Return what is trained beside an adapter; an untied output matrix goes with the embeddings."""
    if what == "embeddings":
        return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    norms = [layer for layer in model.modules() if "norm" in type(layer).__name__.lower()]
    return [weight for layer in norms for weight in layer.parameters(recurse=False)]


def _open(weights: Sequence[nn.Parameter]) -> None:
    """Let weights of the base be trained, in fp32."""
    for weight in weights:
        weight.data = widen(weight.data)
        weight.requires_grad_(True)


def _targets(model: Any, targets: str | Sequence[str]) -> list[str]:
    available = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
    if isinstance(targets, str):
        return available
    wrong = [name for name in targets if name not in available]
    if wrong or not targets:
        raise RecipeError(
            f"adapter.targets names {', '.join(wrong) or 'nothing'}; "
            f"this model's linear layers are {', '.join(available)}"
        )
    return sorted(targets)
