"""What each kind of stage does: one function a kind, all with the same arguments."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice, pairwise, starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from adatta.core.artefact import Artefact, remove_model, restore_model, write_atomic, write_json
from adatta.core.fingerprint import fingerprint
from adatta.core.records import BASE, is_control
from adatta.pipeline.context import Context
from adatta.pipeline.exporting import export, list_parts
from adatta.pipeline.plan import TRAINING, PlannedStage, evaluated_models, has_failed, protocol

if TYPE_CHECKING:
    from adatta.core.records import Score
    from adatta.evals.ask import Subject
    from adatta.evals.journal import Journal

Done = Mapping[str, Artefact]
RecordPart = dict[str, Any]


def do_training(context: Context, planned: PlannedStage, folder: Path, done: Done) -> RecordPart:
    """Train on the stage's rows, then merge the adapter into the stage's input model."""
    from adatta.train.stage import TrainJob, train_stage

    rows = context.rows[planned.name]
    source = model_folder(context, planned.model_in, done)
    results = train_stage(
        TrainJob(
            kind=cast(Literal["sft", "dpo", "adapt"], planned.kind),
            settings=planned.stage.training,
            model_folder=source,
            train=rows.train,
            holdout=rows.holdout,
            out_dir=folder,
            seed=context.recipe.seed,
            context=context.recipe.context,
            precision=cast(Literal["fp32", "bf16"], context.recipe.precision),
            engine=context.recipe.engine,
        )
    )
    gc.collect()
    results["merge"] = merge_stage(context, planned, folder, source)
    if rows.quarantine.rows:
        write_atomic(folder / "quarantine.jsonl", rows.quarantine.content())
    warnings = [*rows.warnings, *results.pop("warnings"), *results["merge"].pop("warnings", ())]
    return {
        "inputs": {
            "model": {"name": planned.model_in, "fingerprint": planned.parents[0]},
            "data": list(rows.sources),
        },
        "counts": {**rows.counts(), "quarantined_by_reason": dict(rows.quarantine.reasons)},
        "validation": rows.validation,
        "results": results,
        "warnings": warnings,
    }


def merge_stage(context: Context, planned: PlannedStage, folder: Path, source: Path) -> dict[str, Any]:
    """Merge what a training stage left in `folder` into its input model, as `folder/model`.

    Args:
        context: the run.
        planned: the training stage.
        folder: its artefact's folder, holding `adapter/`.
        source: folder of the stage's input model.

    Returns:
        The merge's figures for the record.
    """
    from adatta.model.merge import MergeJob, merge
    from adatta.model.merge_check import CHECKED_TOKENS

    settings, rows = planned.stage.training, context.rows[planned.name]
    if settings.merge.into == "none":
        return {"into": "none", "warnings": []}
    return merge(
        MergeJob(
            base_folder=source,
            trained_folder=folder / "adapter",
            out_folder=folder / "model",
            into=settings.merge.into,
            method=settings.method,
            precision=context.recipe.precision,
            probe=list(islice(chain.from_iterable(rows.train), CHECKED_TOKENS)),  # each has a token or more
            held_out=rows.holdout,
            held_out_bytes=rows.holdout_bytes,
            template=context.chat.exported_template() if context.chat.template else None,
            stop_ids=context.chat.stop_ids,
        )
    )


def do_evaluation(context: Context, planned: PlannedStage, folder: Path, done: Done) -> RecordPart:
    """Measure every model of the table; what was measured before, under the same protocol, is read."""
    from adatta.evals.harness_data import write_lock
    from adatta.evals.harness_run import Benchmarks
    from adatta.evals.journal import Journal
    from adatta.evals.scores import read_scores, write_scores

    for suite in context.suites[planned.name]:
        if isinstance(suite, Benchmarks):
            write_lock(context.run_dir, suite.found())
    mark = fingerprint(protocol(context.recipe, context.inputs, planned.stage))
    models = evaluated_models(planned.stage, context.recipe)
    scores: list[Score] = []
    about: dict[str, Any] = {}
    marks = {**context.inputs.others, BASE: context.inputs.base}
    marks |= {name: artefact.record["fingerprint"] for name, artefact in done.items()}
    for name in models:
        role = "base-" * (name == BASE)  # the base is asked under the controls as well
        part = folder / "parts" / f"{role}{marks[name]}-{mark}.parquet"
        if not _is_measured(part):
            part.parent.mkdir(exist_ok=True)
            # Scores of the same model under the same protocol in a complete evaluation of this run.
            same = sorted(context.run_dir.glob(f"*-evaluate-*/parts/{part.name}"))
            complete = (path for path in same if (path.parents[1] / "record.json").exists())
            earlier = list(filter(_is_measured, complete))
            if earlier:
                found = read_scores(earlier[0])
                told = json.loads(earlier[0].with_suffix(".json").read_text(encoding="utf-8"))
            else:
                kept = part.with_suffix(".jsonl")
                found, told = measure(
                    context, planned, name, mark=marks[name], done=done, journal=Journal(kept)
                )
            write_json(part.with_suffix(".json"), told)
            write_scores(part, found)
            if not has_failed(told["benchmarks"]):
                part.with_suffix(".jsonl").unlink(missing_ok=True)
        about[name] = json.loads(part.with_suffix(".json").read_text(encoding="utf-8"))
        # What another chain measured gets the name that the model has in this one.
        scores += [
            score if is_control(score.stage) else replace(score, stage=name) for score in read_scores(part)
        ]
    write_scores(folder / "scores.parquet", scores)
    return {
        "inputs": {
            "models": [{"name": name, "fingerprint": marks[name]} for name in models],
            "suites": dict(context.inputs.suites[planned.name]),
        },
        "counts": {"scores": len(scores)},
        "results": {
            "protocol": mark,
            "models": list(models),
            "suites": list(planned.stage.evaluation.suites),
            "engines": {name: told["engine"] for name, told in about.items()},
            "benchmarks": {name: told["benchmarks"] for name, told in about.items()},
            "fertility": {name: told["fertility"] for name, told in about.items()},
            "overlap": context.overlap,
        },
        "warnings": list(dict.fromkeys(chain.from_iterable(starmap(warn_of, about.items())))),
    }


def _is_measured(part: Path) -> bool:
    """Tell whether a model's scores are there, and no benchmark among them that failed: it is tried again."""
    told = part.with_suffix(".json")
    return part.exists() and not has_failed(json.loads(told.read_text(encoding="utf-8"))["benchmarks"])


def warn_of(name: str, told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is doubtful about a model's benchmarks: failures, cut requests, numbers of rows."""
    for entry in told["benchmarks"]:
        if entry["status"] == "failed":
            yield f"{entry['task']} failed for {name}: {entry['reason']}"
        if cut := entry.get("counts", {}).get("truncated"):
            what = f"{cut} requests to {name} lost their beginning, its window is too short"
            yield f"{entry['task']}: {what}; the record names their {len(entry['cut'])} items"
        wanted = entry.get("num_rows")
        if wanted and wanted != (rows := entry["counts"]["rows"]):
            yield f"{entry['task']} has {rows} rows, its split was published with {wanted}"


def measure(
    context: Context, planned: PlannedStage, name: str, *, mark: str, done: Done, journal: Journal
) -> tuple[list[Score], dict[str, Any]]:
    """Measure one model on the stage's suites; the base also under the controls.

    Args:
        context: the run.
        planned: the evaluate stage.
        name: of the model in the table.
        mark: its fingerprint.
        done: the artefacts so far.
        journal: of the model: what was computed before the run was stopped.

    Returns:
        One score an item and metric; and the `engine` that computed log-probs of our own suites, what
        `benchmarks` were asked how, and the tokenizer's `fertility` on each text.
    """
    from adatta.chat.render import Chat
    from adatta.evals.ask import Limits, list_subjects, make_subject
    from adatta.evals.fertility import suite_fertility
    from adatta.evals.harness_run import Benchmarks
    from adatta.evals.runner import evaluate_model, pick_engine
    from adatta.model.load import load_model, place_model

    settings, prompt = planned.stage.evaluation, context.profile.system_prompt
    folder = model_folder(context, name, done)
    model = place_model(load_model(folder, context.recipe.precision))
    chat = Chat.load(folder, system_prompt=prompt) if name in context.others else context.chat
    engine = pick_engine(model, chat, engine=context.recipe.engine)
    scores = []
    fertility: dict[str, Any] = {}
    own = (suite for suite in context.suites[planned.name] if not isinstance(suite, Benchmarks))
    for suite in own:
        fertility |= suite_fertility(suite, chat.encode_text)
        for subject in list_subjects(name, mark, profile=context.profile):
            scores += evaluate_model(
                model,
                chat if subject.opening else Chat.load(context.base.folder),
                suite=suite,
                subject=subject,
                limits=Limits(context=context.recipe.context, max_new_tokens=settings.max_new_tokens),
                engine=engine,
                journal=journal,
            )
    del model
    gc.collect()
    subject = make_subject(name, mark, context.profile)
    found, entries = measure_benchmarks(context, planned, folder=folder, subject=subject, journal=journal)
    told = {"engine": engine, "benchmarks": entries, "fertility": fertility}
    return scores + found, told


def measure_benchmarks(
    context: Context, planned: PlannedStage, *, folder: Path, subject: Subject, journal: Journal
) -> tuple[list[Score], list[dict[str, Any]]]:
    """Measure one model on public benchmarks, if the stage has some.

    Args:
        context: the run.
        planned: the evaluate stage.
        folder: of the model.
        subject: its place in the table.
        journal: of the model.

    Returns:
        The scores, and an entry a task: what it was, or why it wasn't run.
    """
    from adatta.evals.harness_run import Benchmarks, run_benchmarks

    scores: list[Score] = []
    entries: list[dict[str, Any]] = []
    suites = [suite for suite in context.suites[planned.name] if isinstance(suite, Benchmarks)]
    if suites:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of our way to give it data
        from adatta.evals.backend import ForestLM

        recipe = context.recipe
        # The model's own window, not the recipe's: 25 examples are longer than most rows.
        lm = ForestLM(str(folder), dtype=recipe.precision, engine=recipe.engine)
        lm.journal = journal
        for suite in suites:
            for asked in suite.suite.protocols or planned.stage.evaluation.protocols:
                found, told = run_benchmarks(lm, suite, subject=subject, protocol=asked)
                scores += found
                entries += told
    return scores, entries


def do_export(context: Context, planned: PlannedStage, folder: Path, done: Done) -> RecordPart:
    """Write the chain's newest model in every format, and compare each with it."""
    from adatta.export.job import ExportJob

    trained = [stage.name for stage in context.plan[: planned.number - 1] if stage.kind in TRAINING]
    base, adapters = list_parts(context.base, [done[name].folder / "adapter" for name in trained])
    settings = planned.stage.exporting
    job = ExportJob(
        model_folder=model_folder(context, planned.model_in, done),
        out_dir=folder,
        name=context.recipe.name,
        chat=context.chat,
        base=base,
        adapters=adapters,
    )
    importance = Path(settings.importance) if settings.importance else None
    written, parity = export(job, formats=settings.formats, importance=importance)
    files = {str(path.relative_to(folder)): path.stat().st_size for path in written}
    return {
        "inputs": {"model": {"name": planned.model_in, "fingerprint": planned.parents[0]}},
        "counts": {"files": len(files)},
        "results": {"exported": files, "parity": parity["formats"], "not_held": parity["not_held"]},
        "warnings": parity["warnings"],
    }


def do_report(context: Context, planned: PlannedStage, folder: Path, done: Done) -> RecordPart:
    """Compare base and stages and write the page."""
    from adatta.pipeline.report import gather, not_held, write_report

    margin = planned.stage.reporting.margin
    report = write_report(gather(context, done, margin=margin), folder)
    return {
        "inputs": {"artefacts": [artefact.folder.name for artefact in done.values()]},
        "counts": {"metrics": len(report["metrics"])},
        "results": {
            "headline": report["verdict"]["headline"],
            "not_held": not_held(report) if margin.guard else [],
        },
        "warnings": list(report["problems"]),
    }


DO: Mapping[str, Callable[[Context, PlannedStage, Path, Done], RecordPart]] = {
    **dict.fromkeys(TRAINING, do_training),
    "evaluate": do_evaluation,
    "export": do_export,
    "report": do_report,
}


def model_folder(context: Context, name: str, done: Done) -> Path:
    """Return the folder of a model of the chain; a merged model that was removed is merged again.

    Args:
        context: the run.
        name: `base`, another model's or a training stage.
        done: the artefacts so far.

    Returns:
        A folder that `load_model` reads.
    """
    files = {**context.others, BASE: context.base}
    if name in files:
        return files[name].folder
    artefact = done[name]
    planned = next(stage for stage in context.plan if stage.name == name)
    if planned.stage.training.merge.into == "none":
        from adatta.model.load import fetch

        model_folder(context, planned.model_in, done)  # the adapter's base
        return fetch(str(artefact.folder / "adapter")).folder
    if not artefact.has_model:
        merge_stage(context, planned, artefact.folder, model_folder(context, planned.model_in, done))
        restore_model(artefact)
    return artefact.folder / "model"


def final_model(context: Context, done: Done) -> str | None:
    """Return the folder, within the run, of the model that the run's name means; None without training.

    Args:
        context: the run.
        done: its artefacts.

    Returns:
        A relative path.
    """
    trained = [planned for planned in context.plan if planned.kind in TRAINING]
    if not trained:
        return None
    last = trained[-1]
    if last.stage.training.merge.into == "none":
        return f"{done[last.name].folder.name}/adapter"
    return str(model_folder(context, last.name, done).relative_to(context.run_dir))


def drop_intermediate_models(context: Context, done: Done) -> None:
    """Remove the merged models that are only a step on the way; they are merged again when needed.

    Args:
        context: the run.
        done: its artefacts.
    """
    for planned, following in pairwise(stage for stage in context.plan if stage.kind in TRAINING):
        artefact = done[planned.name]
        is_base = following.stage.training.merge.into == "none"  # of an adapter, which ends the chain
        if artefact.has_model and not is_base and planned.stage.training.method != "full":
            remove_model(artefact, "keep_merged: last")
