"""Find a model's files and its fingerprint, from any name, as one safetensors folder (no torch)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import errors, snapshot_download
from safetensors import safe_open

from adatta.core.errors import ModelError
from adatta.core.fingerprint import fingerprint, hash_folder
from adatta.model.architecture import complete_config, refuse_architecture
from adatta.model.gguf import convert_gguf, gguf_fingerprint
from adatta.model.name import ADAPTER_CONFIG, CURRENT, Kind, ModelName, kind_of_folder, parse_name

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ALSO_WEIGHTS = "trained_base.safetensors"  # what of the base a stage trained beside its adapter
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_IDENTITY = ("*.safetensors", "config.json", "generation_config.json", ADAPTER_CONFIG, *TOKENIZER_FILES)
PAPERS = ("README.md", "LICEN[CS]E*", "NOTICE*", "USE_POLICY*")  # a model's card and licence
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", *PAPERS]
_UNWANTED = ["*/*", "consolidated*.safetensors"]  # other formats, and the same weights once more
_MAX_DEPTH = 4  # a run whose model is an adapter on a run, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model on this machine.

    `folder` holds config.json, safetensors, tokenizer.json and what belongs to it. `fingerprint` is the
    commit on the Hub or a hash of the files. `parts` are the base and the adapter's folder where it is made
    of these; until `fetch` merges them, `folder` is the base's.
    """

    name: str
    kind: Kind
    folder: Path
    fingerprint: str
    parts: tuple[ModelFiles, Path] | None = None


def locate(name: str, revision: str | None = None) -> ModelFiles:
    """Find a model, downloading or converting it if need be; an adapter is not merged yet.

    Args:
        name: see `adatta.model.name.parse_name`.
        revision: branch, tag or commit of a Hub id.

    Raises:
        ModelError: if it is missing, gated, damaged or of an architecture that isn't supported.
    """
    return _locate(parse_name(name, revision=revision), depth=0)


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json of a model folder, with what transformers fills in where it says nothing.

    Raises:
        ModelError: if it isn't there or isn't JSON.
    """
    return complete_config(_read_json(folder / "config.json"))


def tensor_files(folder: Path) -> dict[str, Path]:
    """Return the safetensors file of each tensor of a model folder."""
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            files.update(dict.fromkeys(file.keys(), path))
    return files


def check_files(folder: Path, name: str) -> None:
    """Refuse a model folder that adatta can't use, by what is missing or not supported.

    Raises:
        ModelError: for another architecture, quantised weights, and missing weights or tokenizer.
    """
    config = _read_json(folder / "config.json")
    refuse_architecture(config, name)
    if "quantization_config" in config:
        raise ModelError(f"model {name!r} has quantised weights; give the model that it was made from")
    missing = [file for file in ("tokenizer.json", "tokenizer_config.json") if not (folder / file).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors (weights in other formats, such as pickles, are never read)")
    if missing:
        raise ModelError(f"model {name!r} lacks {', '.join(missing)}; looked in {folder}")


def _locate(model: ModelName, depth: int) -> ModelFiles:
    if depth > _MAX_DEPTH:
        raise ModelError(f"model {model.name!r}: its base leads back to itself; correct {ADAPTER_CONFIG}")
    if model.path is None:
        folder = _download(model)
        return _from_folder(model, folder, identity=folder.name, depth=depth)
    if model.kind in ("gguf", "package"):
        folder, identity = convert_gguf(model.path), gguf_fingerprint(model.path)
        return ModelFiles(name=model.name, kind=model.kind, folder=folder, fingerprint=identity)
    folder = _final_model(model.path) if model.kind == "run" else model.path
    return _from_folder(model, folder, identity=None, depth=depth)


def _from_folder(model: ModelName, folder: Path, *, identity: str | None, depth: int) -> ModelFiles:
    if kind_of_folder(folder) != "adapter":
        check_files(folder, model.name)
        identity = identity or hash_folder(folder, _IDENTITY)
        return ModelFiles(name=model.name, kind=model.kind, folder=folder, fingerprint=identity)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"adapter {folder} lacks {ADAPTER_WEIGHTS}; pickles (.bin) aren't read, save anew")
    if (folder / ALSO_WEIGHTS).is_file():
        raise ModelError(
            f"adapter {folder} was trained together with embeddings or norms of its base, which PEFT can't "
            "merge; use the stage's merged model"
        )
    base = _locate(_base_of(folder), depth + 1)
    if base.parts is not None:
        raise ModelError(f"model {model.name!r} is an adapter on an adapter; merge {base.name!r} first")
    identity = identity or hash_folder(folder, _IDENTITY)
    both = fingerprint({"base": base.fingerprint, "adapter": identity})
    return replace(base, name=model.name, kind=model.kind, fingerprint=both, parts=(base, folder))


def _base_of(adapter: Path) -> ModelName:
    config = _read_json(adapter / ADAPTER_CONFIG)
    base = config.get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{adapter / ADAPTER_CONFIG} has no base_model_name_or_path; name the base there")
    beside = adapter / base
    return parse_name(str(beside.resolve()) if beside.is_dir() else base, revision=config.get("revision"))


def _final_model(run: Path) -> Path:
    relative = _read_json(run / CURRENT).get("model")
    if not relative:
        raise ModelError(f"run {run} has no training stage and so no model of its own; name its base instead")
    folder: Path = run / relative
    if not folder.is_dir():
        raise ModelError(f"run {run} lost its model {folder}; run its recipe again: it makes what is missing")
    return folder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read as JSON ({error}); is the model complete?") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is a JSON {type(value).__name__}, not an object; is the model complete?")
    return value


def _download(model: ModelName) -> Path:
    repository = model.repository or model.name
    page = f"https://huggingface.co/{repository}"
    at = f" at revision {model.revision!r}" if model.revision else ""
    try:
        folder = snapshot_download(
            repository, revision=model.revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
        )
    except errors.GatedRepoError as error:
        advice = f"accept its terms at {page}, then `hf auth login` or set HF_TOKEN"
        raise ModelError(f"model {repository!r} is gated; {advice}") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{repository!r} has no revision {model.revision!r}; see {page}/tree") from error
    except errors.RepositoryNotFoundError as error:
        advice = f"check the spelling at {page}; for a private one, `hf auth login` or set HF_TOKEN"
        raise ModelError(f"no model {repository!r} here or on the Hub; {advice}") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(f"model {repository!r}{at} isn't in the Hub's cache, and {_why_no_hub()}") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelError(f"model {repository!r}{at} could not be downloaded ({error}); try again") from error
    return Path(folder)


def _why_no_hub() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE forbids to download it; unset it, or give a folder"
    return "the Hub can't be reached; check the connection, or give a folder"
