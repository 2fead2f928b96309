"""Check a recipe and every row of its data, estimate memory and disk, train nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adatta.core.settings import ExportSettings, TrainSettings
from adatta.pipeline.context import Context, open_context
from adatta.pipeline.overlap import describe_overlap
from adatta.pipeline.plan import TRAINING
from adatta.pipeline.preferences import describe_pairs

GIB = 2**30
LIBRARIES_BYTES = 600 * 2**20  # the interpreter with torch and transformers, measured
EFFICIENCY = 0.35  # of the machine's matrix products, reached by a training step: docs/log.md


def check_recipe(path: Path, overrides: Sequence[str] = ()) -> None:
    """Check everything that can be checked before training and print a numbered line for each step.

    Args:
        path: the recipe.
        overrides: `path=value` settings.

    Raises:
        RecipeError: the recipe has mistakes.
        DataError: rows have mistakes; all are reported at once.
        ModelError: the model can't be found or used.
    """
    context = open_context(path, overrides)
    lines = [
        f"recipe: {len(context.plan)} stages",
        _model_line(context),
        *_row_lines(context),
        *_data_lines(context),
    ]
    lines += [*_memory_lines(context), _disk_line(context), *_time_lines(context)]
    for number, line in enumerate(lines, start=1):
        print(f"{number:>2}. ok    {line}" if not line.startswith("!") else f"{number:>2}. WARN  {line[1:]}")
    for rows in context.rows.values():
        for warning in rows.warnings:
            print(f"    warning: {warning}")


def _model_line(context: Context) -> str:
    return (
        f"model: {context.recipe.model.name}, {context.recipe.precision}, stop ids "
        f"{', '.join(map(str, context.chat.stop_ids))}"
    )


def _row_lines(context: Context) -> Iterator[str]:
    for name, rows in context.rows.items():
        counts = rows.counts()
        longest = max(len(branch.ids) for group in (*rows.train, *rows.holdout) for branch in group)
        yield (
            f"rows of {name}: {counts['used']} to train on, {counts['holdout']} held out, "
            f"{counts['quarantined']} quarantined; {counts['tokens']} tokens, {counts['scored_tokens']} "
            f"scored; longest {longest} of {context.recipe.context}"
        )


def _data_lines(context: Context) -> Iterator[str]:
    for rows in context.rows.values():
        for source in rows.sources:
            if "pairs" in source:
                line, matters = describe_pairs(source["pairs"])
                yield f"{'!' * matters}preferences in {source['path']}: {line}"
    if context.overlap["counts"]:
        line, matters = describe_overlap(context.overlap)
        yield f"{'!' * matters}overlap: {line}"


def _memory_lines(context: Context) -> Iterator[str]:
    from adatta.model.files import read_config
    from adatta.model.memory import ModelShape, available_bytes, train_memory

    shape, free = ModelShape.of(read_config(context.base.folder)), available_bytes()
    for planned in context.plan:
        settings = planned.stage.settings
        if not isinstance(settings, TrainSettings):
            continue
        longest = max(len(row.ids) for group in context.rows[planned.name].train for row in group)
        need = train_memory(
            shape,
            method=settings.method,
            precision=context.recipe.precision,
            rank=settings.adapter.rank,
            forest_tokens=max(settings.batch.forest_tokens, longest),
            targets=settings.adapter.targets,
        )
        total = need.total + LIBRARIES_BYTES
        mark = "" if total < free else "!"
        yield (
            f"{mark}memory of {planned.name}: {total / GIB:.1f} GiB of {free / GIB:.1f} free (weights "
            f"{need.weights / GIB:.1f}, trained {need.trained / GIB:.1f}, activations "
            f"{need.activations / GIB:.1f}, logits {need.logits / GIB:.1f})"
        )


def _time_lines(context: Context) -> Iterator[str]:
    """Estimate training times: the products of both passes at a share of the measured rate."""
    from adatta.model.files import read_config
    from adatta.model.memory import ModelShape
    from adatta.model.precision import PRODUCT_FLOP, measure_products

    trained = [planned.stage for planned in context.plan if planned.kind in TRAINING]
    if not trained:
        return
    shape = ModelShape.of(read_config(context.base.folder))
    rate = PRODUCT_FLOP / measure_products()[context.recipe.precision] * EFFICIENCY
    for stage in trained:
        settings, counts = stage.training, context.rows[stage.name].counts()
        tokens = _planned_tokens(settings, counts)
        scored = tokens * counts["scored_tokens"] / counts["tokens"]
        passes = 6 if settings.method == "full" else 4  # backward needs no products for frozen weights
        work = passes * (tokens * shape.linear_parameters + scored * shape.vocabulary * shape.hidden)
        yield f"time of {stage.name}: about {max(work / rate, 1) / 60:.1f} min for {tokens:.0f} tokens"


def _planned_tokens(settings: TrainSettings, counts: Mapping[str, int]) -> float:
    budget = settings.budget
    if budget.tokens is not None:
        return budget.tokens
    if budget.steps is not None:
        return budget.steps * settings.batch.rows * counts["tokens"] / counts["drawn"]
    return (budget.epochs or 1) * counts["tokens"]


def _disk_line(context: Context) -> str:
    from adatta.model.files import read_config
    from adatta.model.memory import ModelShape, gguf_bytes, model_bytes

    shape = ModelShape.of(read_config(context.base.folder))
    merged = sum(planned.kind in TRAINING for planned in context.plan)
    need = merged * model_bytes(shape, "fp32")
    for planned in context.plan:
        if isinstance(planned.stage.settings, ExportSettings):
            formats = planned.stage.settings.formats
            need += sum(
                gguf_bytes(shape, name.removeprefix("gguf-")) for name in formats if name.startswith("gguf-")
            )
    parent = next(folder for folder in (context.run_dir, *context.run_dir.parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    return f"{'' if need < free else '!'}disk: {need / GIB:.1f} GiB at most of {free / GIB:.1f} free"
