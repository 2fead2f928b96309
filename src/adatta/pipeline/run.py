"""Run a recipe: each stage is reused when it is complete, else done; the chain's end becomes current."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from adatta.core.artefact import Artefact, begin, complete, set_current, verify, write_atomic
from adatta.core.errors import GuardError
from adatta.core.lock import run_lock
from adatta.core.recipe import dump_recipe
from adatta.core.runtime import describe_runtime, peak_memory_bytes, reset_peak_memory
from adatta.core.settings import VERSIONS
from adatta.pipeline.context import Context, open_context
from adatta.pipeline.plan import TRAINING, PlannedStage

PACKAGES = (
    "adatta",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "bitsandbytes",
    "gguf",
    "xllamacpp",
    "numpy",
)
REPORT_FILES = ("report.html", "report.md", "report.json")


def run_recipe(path: Path, overrides: Sequence[str] = ()) -> Path:
    """Do a recipe from its first stage that isn't complete.

    Args:
        path: the recipe.
        overrides: `path=value` settings.

    Returns:
        The run's folder.

    Raises:
        GuardError: all is done, and figures that a guard watches aren't shown to be held.
        AdattaError: the first thing that can't be done; what is complete stays and is reused next time.
    """
    print(f"checking {path}: recipe, model, every row", flush=True)
    context = open_context(path, overrides)
    with run_lock(context.run_dir):
        write_atomic(context.run_dir / "recipe.yaml", dump_recipe(context.recipe, context.loaded.sources))
        for warning in (text for rows in context.rows.values() for text in rows.warnings):
            print(f"warning: {warning}")
        done: dict[str, Artefact] = {}
        for planned in context.plan:
            label = f"{planned.number}/{len(context.plan)} {planned.name}"
            if planned.artefact is not None:
                verify(planned.artefact.folder)
                done[planned.name] = planned.artefact
                print(f"{label}: reused {planned.artefact.folder.name}")
            else:
                print(f"{label}: starting", flush=True)
                done[planned.name] = _do(context, planned, done)
                print(f"{label}: done in {done[planned.name].record['time_s']:.0f} s")
        _finish(context, done)
    return context.run_dir


def _do(context: Context, planned: PlannedStage, done: dict[str, Artefact]) -> Artefact:
    """Do one stage and complete its artefact."""
    import torch

    from adatta.pipeline.stages import DO

    number, kind, mark = planned.number, planned.kind, planned.fingerprint
    folder = begin(context.run_dir, number=number, kind=kind, fingerprint=mark, anew=planned.is_open)
    reset_peak_memory()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.monotonic()
    part = DO[planned.kind](context, planned, folder, done)
    is_gpu = torch.cuda.is_available() and torch.cuda.max_memory_allocated()  # since it was reset
    device = f"cuda:{torch.cuda.current_device()}" if is_gpu else "cpu"
    record = {
        "kind": planned.kind,
        "name": planned.name,
        "fingerprint": planned.fingerprint,
        "version": VERSIONS[planned.kind],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": planned.stage.settings.model_dump(mode="json"),
        "recipe": context.recipe.model_dump(mode="json", by_alias=True),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "runtime": asdict(describe_runtime(device=device, threads=torch.get_num_threads())),
        "seeds": {"run": context.recipe.seed},
        "parents": list(planned.parents),
        **part,
        "time_s": round(time.monotonic() - start, 2),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    return complete(folder, record)


def _finish(context: Context, done: dict[str, Artefact]) -> None:
    """Point `current.json` at the chain, copy the report beside it, drop models that nothing needs."""
    from adatta.pipeline.stages import drop_intermediate_models, final_model

    kinds = {name: artefact.record["kind"] for name, artefact in done.items()}
    current = {
        "recipe": context.recipe.name,
        "language": context.recipe.language,
        "base": context.recipe.model.name,
        "stages": [
            {"name": name, "kind": kinds[name], "folder": artefact.folder.name}
            | {"fingerprint": artefact.record["fingerprint"]}
            for name, artefact in done.items()
        ],
        "model": final_model(context, done),
    }
    set_current(context.run_dir, current)
    for name, artefact in done.items():
        if kinds[name] == "report":
            for file in REPORT_FILES:
                shutil.copyfile(artefact.folder / file, context.run_dir / file)
            shutil.copytree(artefact.folder / "figures", context.run_dir / "figures", dirs_exist_ok=True)
            print(f"report: {context.run_dir / 'report.html'}")
        if kinds[name] == "export":
            print(f"export: {artefact.folder}")
    if context.recipe.keep_merged == "last":
        drop_intermediate_models(context, done)
    if set(TRAINING).intersection(kinds.values()):
        print(f"talk to it: adatta chat {context.run_dir}")
    lost = [line for artefact in done.values() for line in artefact.record["results"].get("not_held", ())]
    if lost:
        raise GuardError("the guard says no: not shown to be held are:\n  " + "\n  ".join(lost))
