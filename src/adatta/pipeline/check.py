"""Check a recipe, its model and every row step by step; estimate what a run needs; train nothing."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from adatta.core.artefact import run_dir
from adatta.core.errors import problems_json
from adatta.core.problems import Checks
from adatta.core.recipe import LoadedRecipe, Recipe
from adatta.core.settings import TrainSettings
from adatta.pipeline.context import find_model, find_others, load, open_chat, read_rows, resolve
from adatta.pipeline.numbers import show_losses
from adatta.pipeline.overlap import SuiteOverlap, describe_overlap
from adatta.pipeline.plan import TRAINING
from adatta.pipeline.preferences import describe_pairs
from adatta.pipeline.prepare import StageRows
from adatta.pipeline.report_facts import describe_layouts
from adatta.pipeline.suites import load_suites

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.model.files import ModelFiles
    from adatta.model.memory import ModelShape

GIB = 2**30
LIBRARIES_BYTES = 600 * 2**20  # the interpreter with torch and transformers, measured
CHECKPOINT_BYTES = 4 + 4 + 8  # a trained number, its best value so far, the moments of AdamW
EFFICIENCY = 0.35  # of the machine's matrix products, reached by a training step: docs/log.md

# What chat/profiles say of a family, in words; {} is the value.
PROFILE = {
    "strip": "the template takes whitespace off contents: {}",
    "content": "contents are given as {}",
    "system": "the system message stands in the first message of the {}",
    "answers": "each answer is learnt {} from the others, as it is asked for in use",
    "end_of_turn": "answers end with {}",
    "close_thoughts": "thoughts are closed with {!r}",
}


def check_recipe(path: Path, overrides: Sequence[str] = (), *, as_json: bool = False) -> bool:
    """Check everything that can be checked before training, a numbered step each; none hides another.

    Args:
        path: the recipe.
        overrides: `path=value` settings.
        as_json: print one JSON object at the end, with the mistakes, instead of lines and an error.

    Returns:
        Whether there is no mistake; False with `as_json` only.

    Raises:
        RowError: rows have mistakes; all mistakes are told at once.
        RecipeError: something else has mistakes.
    """
    checks = Checks(is_quiet=as_json)
    if loaded := load(path, overrides, checks=checks):
        if not checks.problems:
            checks.add("recipe", ", ".join(stage.name for stage in loaded.recipe.stages) or "no stage")
        _check_run(checks, loaded)
    problems, counts = checks.problems, checks.counts
    if as_json:
        found = {"ok": not problems, "steps": checks.steps, **problems_json(problems, counts)}
        print(json.dumps(found, indent=1, ensure_ascii=False))
    elif problems:
        raise checks.error()
    else:
        flags = chain.from_iterable(("--set", override) for override in overrides)
        print(f"no mistakes\nnext:  {shlex.join(['adatta', 'run', str(path), *flags])}")
    return not problems


def _check_run(checks: Checks, loaded: LoadedRecipe) -> None:
    """Check what a recipe names, each thing as far as it doesn't need what failed."""
    base = checks.attempt("model", lambda: find_model(loaded, "model.name", settings=loaded.recipe.model))
    dict(find_others(loaded, checks=checks))
    recipe = resolve(loaded.recipe, run_dir(loaded.recipe.name)) if base else loaded.recipe
    loaded = replace(loaded, recipe=recipe)
    shape = _check_model(checks, recipe, base) if base else None
    chat = open_chat(loaded, base, checks=checks) if base else None
    if chat:
        _check_template(checks, chat)
    suites = load_suites(loaded, checks=checks)
    overlap = checks.attempt("suites", lambda: SuiteOverlap(chain.from_iterable(suites.values())))
    rows = {}
    for name, prepared in read_rows(loaded, chat=chat, overlap=overlap, checks=checks):
        _tell_rows(checks, name, prepared, context=recipe.context)
        rows[name] = prepared
    if overlap is not None:
        _check_overlap(checks, recipe, overlap)
    if shape is not None:
        _check_needs(checks, recipe, shape=shape, rows=rows)
        _check_disk(checks, recipe, shape)


def _check_model(checks: Checks, recipe: Recipe, base: ModelFiles) -> ModelShape:
    from adatta.model.files import read_config
    from adatta.model.memory import ModelShape

    shape = ModelShape.of(read_config(base.folder))
    text = f"{recipe.model.name}: {shape.parameters / 1e6:,.1f} million parameters, {recipe.precision}"
    checks.add("model", text, parameters=shape.parameters, fingerprint=base.fingerprint)
    return shape


def _check_template(checks: Checks, chat: Chat) -> None:
    from adatta.chat.family import Family

    family, plain = chat.family or Family(), Family()
    values = {name: value for name in PROFILE if (value := getattr(family, name)) != getattr(plain, name)}
    stops = (f"{number} {chat.added_tokens.get(number, '')}".strip() for number in chat.stop_ids)
    kind = f"family {family.name}" if family.name else "the model's own"
    lines = [f"{kind if chat.family else 'none, texts only'}; an answer ends with {', '.join(stops)}"]
    lines += [PROFILE[name].format(value) for name, value in values.items()]
    checks.add("template", "\n".join(lines), family=family.name, stop_ids=chat.stop_ids)


def _tell_rows(checks: Checks, name: str, rows: StageRows, *, context: int) -> None:
    counts, longest, straddled = rows.counts(), rows.longest, rows.straddled
    speeds = {part: rows.validation[part]["rows_per_s"] for part in ("structure", "meaning", "both")}
    lines = [
        f"{counts['used']} to train on, {counts['holdout']} held out, {counts['quarantined']} quarantined, "
        f"{counts['split']} split, {counts['not_drawn']} not drawn; "
        f"{counts['tokens']:,} tokens, {counts['scored_tokens']:,} scored "
        f"({counts['scored_tokens'] / counts['tokens']:.0%}); longest {longest:,} of {context:,}",
        *(f"{source['path']}: {describe_layouts(source)}" for source in rows.sources),
        f"rows/s: {', '.join(f'{part} {speed:,.0f}' for part, speed in speeds.items())}",
        *filter(None, [show_losses(counts)]),
        *([f"{straddled} rows have a token on the border between header and answer"] if straddled else []),
        *rows.warnings,
    ]
    figures = {**counts, "longest_tokens": longest, "straddled": straddled, "validation": rows.validation}
    checks.add(f"rows of {name}", "\n".join(lines), verdict=_warn_if(rows.warnings), **figures)
    for source in rows.sources:
        if "pairs" in source:
            line, matters = describe_pairs(source["pairs"])
            checks.add(f"preferences in {source['path']}", line, verdict=_warn_if(matters), **source["pairs"])


def _check_overlap(checks: Checks, recipe: Recipe, overlap: SuiteOverlap) -> None:
    summary = overlap.summary()
    line, matters = describe_overlap(summary)
    if matters and recipe.on_overlap == "error":
        checks.attempt("overlap", overlap.require_none)
    elif summary["counts"]:
        checks.add("overlap", line, verdict=_warn_if(matters), **summary)


def _warn_if(matters: object) -> Literal["ok", "WARN"]:
    return "WARN" if matters else "ok"


def _compare(checks: Checks, name: str, parts_bytes: Mapping[str, float], *, free_bytes: float) -> None:
    """Add a step about what is needed, in parts, and what is free."""
    need_bytes = sum(parts_bytes.values())
    parts = ", ".join(f"{part} {size / GIB:.2f}" for part, size in parts_bytes.items())
    text = f"{need_bytes / GIB:.1f} GiB of {free_bytes / GIB:.1f} free ({parts})"
    verdict = _warn_if(need_bytes >= free_bytes)
    checks.add(name, text, verdict=verdict, parts_bytes=parts_bytes, free_bytes=free_bytes)


def _check_needs(checks: Checks, recipe: Recipe, *, shape: ModelShape, rows: Mapping[str, StageRows]) -> None:
    """Estimate memory and time of the stages whose rows are right."""
    from adatta.model.load import free_bytes
    from adatta.model.memory import train_flop, train_memory
    from adatta.model.precision import PRODUCT_FLOP, measure_products

    rate = PRODUCT_FLOP / measure_products()[recipe.precision] * EFFICIENCY if rows else 0.0
    for stage in (stage for stage in recipe.stages if stage.name in rows):
        settings, counts = stage.training, rows[stage.name].counts()
        need = train_memory(
            shape,
            method=settings.method,
            precision=recipe.precision,
            adapter=settings.adapter,
            is_recomputed=settings.batch.checkpointing == "always",
            forest_tokens=max(settings.batch.forest_tokens, rows[stage.name].longest),
        )
        parts = asdict(need) | {"libraries": LIBRARIES_BYTES}
        _compare(checks, f"memory of {stage.name}", parts, free_bytes=free_bytes())
        tokens = _planned_tokens(settings, counts)
        scored = tokens * counts["scored_tokens"] / counts["tokens"]
        work = train_flop(shape, method=settings.method, tokens=tokens, scored=scored)
        text = f"about {max(work / rate, 1) / 60:.1f} min for {tokens:,.0f} tokens"
        checks.add(f"time of {stage.name}", text, tokens=tokens, time_s=work / rate)


def _planned_tokens(settings: TrainSettings, counts: Mapping[str, int]) -> float:
    budget = settings.budget
    if budget.tokens is not None:
        return budget.tokens
    if budget.steps is not None:
        return budget.steps * settings.batch.rows * counts["tokens"] / counts["drawn"]
    return (budget.epochs or 1) * counts["tokens"]


def _check_disk(checks: Checks, recipe: Recipe, shape: ModelShape) -> None:
    """Estimate what a run writes at most."""
    from adatta.model.memory import gguf_bytes, model_bytes

    whole = model_bytes(shape, "fp32")
    settings = [stage.training for stage in recipe.stages if stage.kind in TRAINING]
    trained = [shape.trained_parameters(each.method, each.adapter) for each in settings]
    merged = sum(each.merge.into != "none" for each in settings)
    parts: dict[str, float] = {
        "trained weights": 4 * sum(trained),
        "checkpoints": 2 * CHECKPOINT_BYTES * max(trained, default=0),  # one is written beside the last
        f"{merged} merged model{'s' * (merged != 1)}": merged * whole,
    }
    for name in (name for stage in recipe.stages for name in getattr(stage.settings, "formats", ())):
        parts[name] = gguf_bytes(shape, name[5:]) if name.startswith("gguf-") else whole
    folder = run_dir(recipe.name)
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    _compare(checks, "disk", parts, free_bytes=shutil.disk_usage(parent).free)
