"""Export a model: write it in several formats, prove that each is the same model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import read_artefact, read_current, write_json
from adatta.core.errors import GuardError, RecipeError
from adatta.core.registry import list_names, load_registry
from adatta.lang.profile import load_profile
from adatta.pipeline.plan import TRAINING

if TYPE_CHECKING:
    from adatta.export.job import ExportJob
    from adatta.model.files import ModelFiles


def export_named_model(
    model: str, out: Path, *, formats: tuple[str, ...], language: str, importance: Path | None = None
) -> None:
    """Write a model in one or more formats, with the profile's system prompt in its template.

    Args:
        model: any name of a model.
        out: the folder to write to; made when missing.
        formats: names of formats.
        language: tag of the profile.
        importance: a text by which quantising weighs columns.

    Raises:
        RecipeError: a format is unknown.
        ModelError: the model can't be found or used.
        GuardError: what was written is worse than it may be.
    """
    from adatta.chat.render import Chat
    from adatta.export.job import ExportJob
    from adatta.model.load import fetch

    names = list_names("adatta.export.formats")
    unknown = [name for name in formats if name not in names]
    if unknown:
        raise RecipeError(f"unknown format {', '.join(unknown)}; there are: {', '.join(names)}")
    files = fetch(model)
    base, adapters = _made_of(files) if "adapter" in formats else (None, ())
    prompt = load_profile(language).system_prompt
    chat = Chat.load(files.folder, system_prompt=None if files.kind == "run" else prompt)
    out.mkdir(parents=True, exist_ok=True)
    name = Path(model).name.removesuffix(".gguf") or "model"
    job = ExportJob(
        model_folder=files.folder,
        out_dir=out,
        name=name,
        chat=chat,
        base=base,
        adapters=adapters,
    )
    written, parity = export(job, formats=formats, importance=importance)
    lines = [f"wrote {path}" for path in written] + [f"warning: {text}" for text in parity["warnings"]]
    print("\n".join(lines))
    if parity["not_held"]:
        raise GuardError("written, but worse than it may be:\n  " + "\n  ".join(parity["not_held"]))


def export(
    job: ExportJob, *, formats: Iterable[str], importance: Path | None
) -> tuple[list[Path], dict[str, Any]]:
    """Write a model in several formats, compare each with it, print and keep the figures as `parity.json`.

    Args:
        job: what is written, and where.
        formats: their names.
        importance: a text by which quantising weighs columns.

    Returns:
        The files, and the content of `parity.json`: figures by format, what isn't held, warnings.

    Raises:
        ExportError: the model can't be written so, or what was written doesn't answer as it does.
    """
    from dataclasses import replace

    from adatta.export.importance import measure_importance
    from adatta.export.parity import check_exports, show_figures

    known = load_registry("adatta.export.formats")
    if importance:
        job = replace(job, importance=measure_importance(job.model_folder, importance, chat=job.chat))
    exported = {wanted: known[wanted.replace("-", "_")](job) for wanted in formats}
    figures = check_exports(job, exported)
    for name, found in figures.items():
        if name != "merged":
            print(show_figures(name, found))
    parity = {
        "formats": figures,
        "not_held": [line for found in figures.values() for line in found.get("not_held", ())],
        "warnings": list(_warn(job, exported, figures)),
    }
    write_json(job.out_dir / "parity.json", parity)
    return [path for files in exported.values() for path in files], parity


def _warn(
    job: ExportJob, exported: Mapping[str, Sequence[Path]], figures: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what an export lacks that the model has."""
    from adatta.export.modelfile import NO_TEMPLATE
    from adatta.model.files import read_config

    longest = read_config(job.model_folder)["max_position_embeddings"]
    for name, files in exported.items():
        context = figures.get(name, {}).get("context_length", longest)
        if context < longest:
            yield f"{name}: for {context} of the model's {longest} tokens; beyond, llama.cpp differs"
        for path in (path for path in files if path.name.startswith("Modelfile")):
            if NO_TEMPLATE in path.read_text(encoding="utf-8"):
                yield f"{path.name}: no TEMPLATE, the model's own can't be said in Go's language"


def list_parts(start: ModelFiles, trained: Iterable[Path]) -> tuple[ModelFiles, tuple[Path, ...]]:
    """Return a chain's base and all adapters that were merged into it, one after the other.

    Args:
        start: what the chain began with, which may have an adapter itself.
        trained: the adapters of its stages.
    """
    base, *before = start.parts or (start,)
    return base, (*before, *trained)


def _made_of(files: ModelFiles) -> tuple[ModelFiles, tuple[Path, ...]]:
    """Return a model's base and the adapters that were merged into it: of a run, or one."""
    from adatta.model.files import locate
    from adatta.model.name import parse_name

    run = parse_name(files.name).path
    if files.kind != "run" or run is None:
        return list_parts(files, ())
    stages = [stage for stage in read_current(run)["stages"] if stage["kind"] in TRAINING]
    folders = [run / stage["folder"] for stage in stages]
    model = read_artefact(folders[0]).record["recipe"]["model"]
    return list_parts(locate(model["name"], model["revision"]), (folder / "adapter" for folder in folders))
